"""Random changes of colour and focus, equal to torchvision's and Pillow's.

Images are RGB images of Pillow and keep their size. Operations take their
strength; functions that draw it take a `np.random.Generator`.
"""

import functools

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
  """Multiply with `factor`; 1 changes nothing, 0 is black."""
  return ImageEnhance.Brightness(image).enhance(factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
  """Scale the distance from the mean grey; 1 changes nothing, 0 is the grey."""
  return ImageEnhance.Contrast(image).enhance(factor)


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
  """Scale the distance from each pixel's grey; 1 changes nothing, 0 is grey."""
  return ImageEnhance.Color(image).enhance(factor)


def adjust_hue(image: Image.Image, turn: float) -> Image.Image:
  """Rotate the circle of hues by `turn`, a fraction of it from -0.5 to 0.5."""
  hue, saturation, value = image.convert("HSV").split()
  # The circle has 255 steps, rounded towards 0, as torchvision does for Pillow.
  step = int(turn * 255)
  table = [(level + step) % 256 for level in range(256)]
  return Image.merge("HSV", (hue.point(table), saturation, value)).convert(
    "RGB"
  )


def to_gray(image: Image.Image) -> Image.Image:
  """Make the channels equal: ITU-R 601-2 luma."""
  return image.convert("L").convert("RGB")


def blur(image: Image.Image, sigma: float) -> Image.Image:
  """Blur by a Gaussian of `sigma` pixels; Pillow approximates it by boxes."""
  return image.filter(ImageFilter.GaussianBlur(sigma))


def random_jitter(
  image: Image.Image,
  rng: np.random.Generator,
  strength: tuple[float, float, float, float],
) -> Image.Image:
  """Change brightness, contrast, saturation and hue, in random order.

  Args:
    image: RGB image.
    rng: generator of the order, then of one number for each strength other
      than 0.
    strength: strengths of the four changes. Factors are drawn from 1 - strength
      (not below 0) to 1 + strength, the hue's turn from -strength to strength:
      the distribution of torchvision's ColorJitter.
  """
  brightness, contrast, saturation, hue = strength
  order = rng.permutation(4)
  changes = {
    index: functools.partial(
      change, factor=rng.uniform(max(0.0, 1 - amount), 1 + amount)
    )
    for index, (change, amount) in enumerate(
      (
        (adjust_brightness, brightness),
        (adjust_contrast, contrast),
        (adjust_saturation, saturation),
      )
    )
    if amount
  }
  if hue:
    changes[3] = functools.partial(adjust_hue, turn=rng.uniform(-hue, hue))
  for index in order:
    if index in changes:
      image = changes[index](image)
  return image
