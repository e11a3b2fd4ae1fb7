"""Images from encoded bytes to augmented squares: uint8 in, uint8 out.

All arrays are [Y, X, 3] RGB in 0..255. What is random takes a
`np.random.Generator`, so that an example depends on the seed and its place in
the data order alone.
"""

import io

import numpy as np
from PIL import Image

from input_pipeline import faults

# A file of a few kilobytes can claim any size; 64 megapixels are 192 MB.
MAX_PIXELS = 64_000_000

WHITE = (255, 255, 255)


def decode(data: bytes) -> np.ndarray:
  """Decode PNG, JPEG, WebP or another format of Pillow, on white.

  Transparency is composited on white. EXIF orientation is ignored, as by the
  loaders of CLIP and OpenCLIP. Raises faults.ExampleError for anything that is
  not an intact image of at most MAX_PIXELS pixels.
  """
  try:
    image = Image.open(io.BytesIO(data))
    num_pixels = image.width * image.height
    if num_pixels > MAX_PIXELS:
      raise faults.ExampleError(
        "image_too_large",
        f"image of {image.width} x {image.height} = {num_pixels} pixels; at "
        f"most {MAX_PIXELS} are decoded",
      )
    return np.asarray(_to_rgb(image))
  except (OSError, SyntaxError, Image.DecompressionBombError) as error:
    raise faults.ExampleError(
      "image_broken", f"cannot decode image of {len(data)} bytes: {error}"
    ) from error


def resize(image: np.ndarray, size: int) -> np.ndarray:
  """Resize to [size, size, 3], bicubic with antialiasing; not kept in shape."""
  return _resize_box(image, size, (0.0, 0.0, image.shape[1], image.shape[0]))


def random_crop(
  image: np.ndarray,
  rng: np.random.Generator,
  *,
  size: int,
  scale: tuple[float, float],
) -> np.ndarray:
  """Cut a random square and resize it to [size, size, 3].

  The square's side is drawn from `scale` times the image's shorter side. One
  larger than the image is filled up with white, the image at a random place
  in it.
  """
  height, width = image.shape[:2]
  low, high = scale
  side = min(height, width) * (low + (high - low) * rng.random())
  # Both offsets are drawn whatever the side: one image takes three numbers.
  top = (height - side) * rng.random()
  left = (width - side) * rng.random()
  if side <= min(height, width):
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
  # Rounding may leave the box a hair outside, which Pillow refuses.
  left, top = max(box[0], 0.0), max(box[1], 0.0)
  right, bottom = min(box[2], image.shape[1]), min(box[3], image.shape[0])
  resized = Image.fromarray(np.ascontiguousarray(image)).resize(
    (size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom)
  )
  return np.asarray(resized)


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith("I;16"):
    # Pillow clips 16 bits to 8 instead of scaling them.
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(
      "RGB"
    )
  if image.has_transparency_data:
    image = image.convert("RGBA")
    # Skips the slow blend for the many files with an alpha of 255 throughout.
    if np.asarray(image)[..., 3].min() < 255:
      canvas = Image.new("RGBA", image.size, (*WHITE, 255))
      image = Image.alpha_composite(canvas, image)
  return image.convert("RGB")
