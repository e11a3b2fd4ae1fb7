"""Random changes of colour and focus, as torchvision and Pillow make them.

Images are Pillow's, RGB, and keep their size. Operations take their strength;
functions that draw it take a `np.random.Generator`.
"""

import functools

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
  """Multiply with `factor`; 1 changes nothing, 0 is black."""
  return ImageEnhance.Brightness(image).enhance(factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
  """Move away from the mean grey; 1 changes nothing, 0 is that grey."""
  return ImageEnhance.Contrast(image).enhance(factor)


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
  """Move away from each pixel's grey; 1 changes nothing, 0 is grey."""
  return ImageEnhance.Color(image).enhance(factor)


def adjust_hue(image: Image.Image, turn: float) -> Image.Image:
  """Turn the circle of hues by `turn`, -0.5 to 0.5 of it."""
  hue, saturation, value = image.convert("HSV").split()
  # 255 steps to the circle, and towards 0, as torchvision's for Pillow images.
  step = int(turn * 255)
  table = [(level + step) % 256 for level in range(256)]
  return Image.merge("HSV", (hue.point(table), saturation, value)).convert(
    "RGB"
  )


def to_gray(image: Image.Image) -> Image.Image:
  """Make the channels equal: ITU-R 601-2 luma."""
  return image.convert("L").convert("RGB")


def blur(image: Image.Image, sigma: float) -> Image.Image:
  """Blur by a Gaussian of `sigma` pixels, which Pillow builds of boxes."""
  return image.filter(ImageFilter.GaussianBlur(sigma))


def random_jitter(
  image: Image.Image,
  rng: np.random.Generator,
  strength: tuple[float, float, float, float],
) -> Image.Image:
  """Change brightness, contrast, saturation and hue, in random order.

  Args:
    image: to be changed.
    rng: gives the order, then a number for each strength that is not 0.
    strength: of the four; factors are drawn from 1 - strength (not below 0) to
      1 + strength, the hue's turn from -strength to strength. torchvision's
      ColorJitter draws from the same distribution.
  """
  brightness, contrast, saturation, hue = strength
  order = rng.permutation(4)
  changes = {
    index: functools.partial(
      change, factor=rng.uniform(max(0.0, 1 - some), 1 + some)
    )
    for index, (change, some) in enumerate(
      (
        (adjust_brightness, brightness),
        (adjust_contrast, contrast),
        (adjust_saturation, saturation),
      )
    )
    if some
  }
  if hue:
    changes[3] = functools.partial(adjust_hue, turn=rng.uniform(-hue, hue))
  for index in order:
    if index in changes:
      image = changes[index](image)
  return image
