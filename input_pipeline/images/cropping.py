"""Crops of training images: by area and shape, or by resizing first.

Random functions take a `np.random.Generator`. Each documents the order in which
it draws numbers, since the training examples depend on it.
"""

import math

import numpy as np

from input_pipeline import faults
from input_pipeline.images import image_ops, picture

# Tries of torchvision's RandomResizedCrop before it takes the centre.
_NUM_TRIES = 10


def draw_corner(
  image: picture.Picture, rng: np.random.Generator, side: int
) -> tuple[int, int]:
  """Return top and left of a square in an image as it is.

  Args:
    image: image of any size.
    rng: generator of the square's top and left.
    side: side of the square in pixels.

  Raises:
    faults.ExampleError: an image smaller than the square.
  """
  if min(image.height, image.width) < side:
    raise faults.ExampleError(
      "image_too_small",
      f"image of {image.width} x {image.height} pixels; expected at least "
      f"data.augmentation.pre_crop={side} a side",
    )
  top = int(rng.integers(image.height - side + 1))
  left = int(rng.integers(image.width - side + 1))
  return top, left


def area_box(
  height: int,
  width: int,
  rng: np.random.Generator,
  *,
  scale: tuple[float, float],
  ratio: tuple[float, float],
) -> picture.Box:
  """Draw a part of an image by its area and shape, in whole pixels.

  The rule is that of torchvision's RandomResizedCrop. Each try draws area and
  shape; the first that fits in the image then draws its top and left.

  Args:
    height, width: size of the image in pixels.
    rng: generator of 2 numbers a try, and of 2 in the end.
    scale: lowest and highest share of the image's area; one above 1 never fits.
    ratio: lowest and highest width / height; its logarithm is uniform.
  """
  low, high = math.log(ratio[0]), math.log(ratio[1])
  for _ in range(_NUM_TRIES):
    area = height * width * rng.uniform(*scale)
    shape = math.exp(rng.uniform(low, high))
    wide, tall = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    if 0 < wide <= width and 0 < tall <= height:
      top = int(rng.integers(height - tall + 1))
      left = int(rng.integers(width - wide + 1))
      return picture.Box(left, top, left + wide, top + tall)
  # No try fitted: the centre, as much of the image as `ratio` allows.
  tall, wide = height, width
  if width / height < ratio[0]:
    tall = max(round(width / ratio[0]), 1)
  elif width / height > ratio[1]:
    wide = max(round(height * ratio[1]), 1)
  top, left = (height - tall) // 2, (width - wide) // 2
  return picture.Box(left, top, left + wide, top + tall)


def resize_and_crop(
  image: picture.Picture,
  rng: np.random.Generator | None,
  *,
  size: int,
  resize_size: int,
  squash: bool,
  interpolation: str,
) -> np.ndarray:
  """Resize an image and cut a square of whole pixels out of the result.

  Args:
    image: image of any size.
    rng: generator of the square's top and left; None cuts out the centre.
    size: side of the square in pixels.
    resize_size: pixels of both sides with `squash`, else of the shorter side;
      at least `size`.
    squash: whether both sides become `resize_size`; otherwise the image keeps
      its shape.
    interpolation: key of picture.INTERPOLATIONS.
  """
  (tall, wide), corner = draw_resized(
    image, rng, size=size, resize_size=resize_size, squash=squash
  )
  return cut_resized(
    image, (tall, wide), corner, size=size, interpolation=interpolation
  )


def draw_resized(
  image: picture.Picture,
  rng: np.random.Generator | None,
  *,
  size: int,
  resize_size: int,
  squash: bool,
) -> tuple[tuple[int, int], tuple[int, int]]:
  """Return (height, width) of a resized image, and top and left of a square.

  The arguments are those of `resize_and_crop`.
  """
  tall = wide = resize_size
  if not squash:
    # torchvision's Resize rounds the longer side down.
    if image.height > image.width:
      tall = int(resize_size * image.height / image.width)
    else:
      wide = int(resize_size * image.width / image.height)
  if rng is None:
    top, left = (tall - size) // 2, (wide - size) // 2
  else:
    top = int(rng.integers(tall - size + 1))
    left = int(rng.integers(wide - size + 1))
  return (tall, wide), (top, left)


def cut_resized(
  image: picture.Picture,
  sides: tuple[int, int],
  corner: tuple[int, int],
  *,
  size: int,
  interpolation: str,
) -> np.ndarray:
  """Return a square of whole pixels of an image that is resized to `sides`.

  Args:
    image: image of any size.
    sides: height and width of the whole resized image.
    corner: top and left of the square in it.
    size: side of the square in pixels.
    interpolation: key of picture.INTERPOLATIONS.
  """
  (tall, wide), (top, left) = sides, corner
  if tall * wide > picture.MAX_PIXELS:
    return image_ops.cut_resized(
      *(image.pixels(), (tall, wide), (top, left)),
      size=size,
      interpolation=interpolation,
    )
  whole = picture.Box(0, 0, image.width, image.height)
  pixels = image.resized(whole, tall, wide, interpolation)
  return pixels[top : top + size, left : left + size]
