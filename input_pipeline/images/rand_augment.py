"""RandAugment (arXiv 1909.13719) as used in LiT's training.

Operations and their magnitudes are those of big_vision's `randaug`
(pp/archive/autoaugment.py, distort_image_with_randaugment), built on Pillow.
Pillow rounds values that TensorFlow truncates and counts from the middle of
pixels: levels may differ by 1, moved edges by a pixel. big_vision's
probabilities of operations are drawn but have no effect, so they are left out.
"""

import types
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageOps

# Magnitude at which the constants below are reached.
_MAX_MAGNITUDE = 10.0
# Colour of pixels from outside the image, and of holes.
_GREY = (128, 128, 128)

_Op = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def random_ops(
  image: Image.Image,
  rng: np.random.Generator,
  *,
  num_layers: int,
  magnitude: float,
) -> Image.Image:
  """Apply operations of OPS, each drawn independently, to an RGB image.

  `rng` draws the operation, then the operation's own numbers: a sign or a
  position.
  """
  names = tuple(OPS)
  for _ in range(num_layers):
    op = OPS[names[int(rng.integers(len(names)))]]
    image = op(image, magnitude / _MAX_MAGNITUDE, rng)
  return image


def _signed(value: float, rng: np.random.Generator) -> float:
  return value if rng.random() < 0.5 else -value


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> _Op:
  return lambda image, level, rng: kind(image).enhance(1.8 * level + 0.1)


def _affine(index: int, most: float) -> _Op:
  """Return the operation that changes one coefficient by up to `most`.

  Each pixel (x, y) of the result is taken from (ax + by + c, dx + ey + f); the
  coefficients are a, b, c, d, e, f.
  """

  def op(
    image: Image.Image, level: float, rng: np.random.Generator
  ) -> Image.Image:
    coefficients = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    coefficients[index] = _signed(most * level, rng)
    return image.transform(
      image.size,
      Image.Transform.AFFINE,
      coefficients,
      Image.Resampling.NEAREST,
      fillcolor=_GREY,
    )

  return op


def _rotate(
  image: Image.Image, level: float, rng: np.random.Generator
) -> Image.Image:
  return image.rotate(
    _signed(30.0 * level, rng), Image.Resampling.NEAREST, fillcolor=_GREY
  )


def _posterize(
  image: Image.Image, level: float, rng: np.random.Generator
) -> Image.Image:
  kept = 0xFF << (8 - min(int(4 * level), 8)) & 0xFF
  return image.point([value & kept for value in range(256)] * 3)


def _solarize_add(
  image: Image.Image, level: float, rng: np.random.Generator
) -> Image.Image:
  added = int(110 * level)
  table = [min(v + added, 255) if v < 128 else v for v in range(256)]
  return image.point(table * 3)


def _cutout(
  image: Image.Image, level: float, rng: np.random.Generator
) -> Image.Image:
  # A square of side 2 * reach, its middle anywhere in the image.
  reach = int(40 * level)
  y, x = int(rng.integers(image.height)), int(rng.integers(image.width))
  image = image.copy()
  image.paste(_GREY, (x - reach, y - reach, x + reach, y + reach))
  return image


# Name in big_vision -> operation(image, magnitude / 10, rng).
OPS: Mapping[str, _Op] = types.MappingProxyType(
  {
    "AutoContrast": lambda image, level, rng: ImageOps.autocontrast(image),
    "Equalize": lambda image, level, rng: ImageOps.equalize(image),
    "Invert": lambda image, level, rng: ImageChops.invert(image),
    "Rotate": _rotate,
    "Posterize": _posterize,
    # At magnitude 10 the threshold is 256, above every level.
    "Solarize": lambda image, level, rng: ImageOps.solarize(
      image, int(256 * level)
    ),
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "ShearX": _affine(1, 0.3),
    "ShearY": _affine(3, 0.3),
    "TranslateX": _affine(2, 100.0),
    "TranslateY": _affine(5, 100.0),
    "Cutout": _cutout,
    "SolarizeAdd": _solarize_add,
  }
)
