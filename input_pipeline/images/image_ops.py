"""Images to squares, whole or cut at random: uint8 in, uint8 out.

All arrays are [Y, X, 3] RGB in 0..255. Random functions take a
`np.random.Generator`, so that an example depends only on the seed and its
position in the data. Pillow itself resizes here, so results equal Pillow's to
the bit; picture.py has a faster way for photos.
"""

import numpy as np
from PIL import Image

from input_pipeline.images import picture


def decode(data: bytes) -> np.ndarray:
  """Decode a whole image by the rules of picture.py, transparency on white.

  Raises faults.ExampleError for anything that is not an intact image of at
  most picture.MAX_PIXELS pixels.
  """
  return picture.open_picture(data).pixels()


def resize(image: np.ndarray, size: int) -> np.ndarray:
  """Resize to [size, size, 3], bicubic with antialiasing; may be distorted."""
  return _resize_box(image, size, (0.0, 0.0, image.shape[1], image.shape[0]))


def cut_resized(
  image: np.ndarray,
  shape: tuple[int, int],
  corner: tuple[int, int],
  *,
  size: int,
  interpolation: str,
) -> np.ndarray:
  """Return a square of an image resized to `shape`, uint8 [size, size, 3].

  Pixels outside the square are not computed, so that a long, narrow image takes
  no more memory than others. The others are the same up to rounding and
  clipping between Pillow's two passes, whose order depends on the sizes.

  Args:
    image: uint8 [Y, X, 3].
    shape: height and width of the whole resized image.
    corner: top and left of the square in it.
    size: side of the square.
    interpolation: key of picture.FILTERS.
  """
  height, width = image.shape[:2]
  down, across = height / shape[0], width / shape[1]
  top, left = corner
  box = (
    *(left * across, top * down),
    min((left + size) * across, width),
    min((top + size) * down, height),
  )
  resized = Image.fromarray(np.ascontiguousarray(image)).resize(
    (size, size), picture.FILTERS[interpolation], box=box
  )
  return np.asarray(resized)


def random_crop(
  image: np.ndarray,
  rng: np.random.Generator,
  *,
  size: int,
  scale: tuple[float, float],
) -> np.ndarray:
  """Cut a random square and resize it to [size, size, 3].

  The square's side is drawn from `scale` times the image's shorter side. A
  square larger than the image shows it at a random position on white.
  """
  square = draw_square(*image.shape[:2], rng, scale=scale)
  return cut_square(image, square, size)


def draw_square(
  height: int,
  width: int,
  rng: np.random.Generator,
  *,
  scale: tuple[float, float],
) -> tuple[float, float, float]:
  """Return side, left and top of the square that `random_crop` cuts.

  Args:
    height, width: size of the image in pixels.
    rng: generator of three numbers: side, top, left.
    scale: lowest and highest side, as a share of the shorter one of the image.
  """
  low, high = scale
  side = min(height, width) * (low + (high - low) * rng.random())
  # Both offsets are drawn for any side: each image takes three numbers.
  top = (height - side) * rng.random()
  left = (width - side) * rng.random()
  return side, left, top


def cut_square(
  image: np.ndarray, square: tuple[float, float, float], size: int
) -> np.ndarray:
  """Return a square of `draw_square`, resized to [size, size, 3]."""
  side, left, top = square
  if side <= min(image.shape[:2]):
    return _resize_box(image, size, (left, top, left + side, top + side))
  return _resize_box(*_on_canvas(image, side, top, left, size))


def random_flip(
  image: np.ndarray, rng: np.random.Generator, *, probability: float
) -> np.ndarray:
  """Mirror left and right with the given probability."""
  return image[:, ::-1] if rng.random() < probability else image


def _on_canvas(
  image: np.ndarray, side: float, top: float, left: float, size: int
) -> tuple[np.ndarray, int, tuple[float, float, float, float]]:
  """Return a white canvas that holds image and square, and the square."""
  height, width = image.shape[:2]
  # Whole pixels of white on each side, so that the image is not resampled
  # twice; the square itself keeps its fraction of a pixel.
  pad_top, pad_left = int(np.ceil(max(-top, 0))), int(np.ceil(max(-left, 0)))
  pad_bottom = int(np.ceil(max(top + side - height, 0)))
  pad_right = int(np.ceil(max(left + side - width, 0)))
  padding = ((pad_top, pad_bottom), (pad_left, pad_right), (0, 0))
  canvas = np.pad(image, padding, constant_values=255)
  top, left = top + pad_top, left + pad_left
  return canvas, size, (left, top, left + side, top + side)


def _resize_box(
  image: np.ndarray, size: int, box: tuple[float, float, float, float]
) -> np.ndarray:
  if box == (0, 0, size, size) and image.shape[:2] == (size, size):
    return image
  # Rounding may move the box's edge just outside, which Pillow refuses.
  left, top = max(box[0], 0.0), max(box[1], 0.0)
  right, bottom = min(box[2], image.shape[1]), min(box[3], image.shape[0])
  resized = Image.fromarray(np.ascontiguousarray(image)).resize(
    (size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom)
  )
  return np.asarray(resized)
