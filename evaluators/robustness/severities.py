"""Constants of ImageNet-C's corruptions, for five severities and four sizes.

Source: Hendrycks and Dietterich (arXiv 1903.12261) and the files of their
repository hendrycks/robustness that made each published set, in
ImageNet-C/create_c:

  224  make_imagenet_c.py (the same as package imagenet_c, commit 20caed9)
  299  make_imagenet_c_inception.py
   64  make_imagenet_64_c.py (ImageNet-64x64-C)
   32  make_cifar_c.py (CIFAR-10-C and CIFAR-100-C)

The authors chose a table for each size by eye: radii do not grow with the side,
and CIFAR-C's noise is weaker than ImageNet-C's. Nothing is therefore scaled
here: another size takes the table of the nearest one; see `nearest`.
"""

import math
import types
from collections.abc import Mapping
from typing import Any

SIZES = (32, 64, 224, 299)
NUM_SEVERITIES = 5

# Zoom factors of one severity: from 1, below the stop, by the step.
_ZOOMS_SMALL = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01))
_ZOOMS_LARGE = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02))
_SNOW_LARGE = (
  (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
  (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
  (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
  (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
  (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_FROST_LARGE = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))


def _times(
  base: int, *factors: tuple[float, float, float]
) -> tuple[tuple[float, ...], ...]:
  """Return each severity's factors times a length in pixels."""
  return tuple(tuple(base * x for x in row) for row in factors)


# The authors' base for 224 is 244, "should have been 224", and stays.
_ELASTIC_LARGE = (
  (2, 0.7, 0.1),
  (2, 0.08, 0.2),
  (0.05, 0.01, 0.02),
  (0.07, 0.01, 0.02),
  (0.12, 0.01, 0.02),
)

# Kind -> size -> one constant, or tuple of constants, for each severity. The
# functions of the kinds say what the parts of a tuple are.
TABLE: Mapping[str, Mapping[int, tuple[Any, ...]]] = types.MappingProxyType(
  {
    "gaussian_noise": {
      32: (0.04, 0.06, 0.08, 0.09, 0.10),
      64: (0.04, 0.08, 0.12, 0.15, 0.18),
      224: (0.08, 0.12, 0.18, 0.26, 0.38),
      299: (0.09, 0.13, 0.19, 0.27, 0.40),
    },
    "shot_noise": {
      32: (500, 250, 100, 75, 50),
      64: (250, 100, 50, 30, 15),
      224: (60, 25, 12, 5, 3),
      299: (50, 20, 10, 5, 3),
    },
    "impulse_noise": {
      32: (0.01, 0.02, 0.03, 0.05, 0.07),
      64: (0.01, 0.02, 0.05, 0.08, 0.14),
      224: (0.03, 0.06, 0.09, 0.17, 0.27),
      299: (0.04, 0.07, 0.10, 0.18, 0.28),
    },
    "defocus_blur": {
      32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
      64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
      224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
      299: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    },
    "glass_blur": {
      32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
      64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
      224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
      299: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    },
    "motion_blur": {
      32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
      64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
      224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
      299: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    },
    "zoom_blur": {
      32: (*_ZOOMS_SMALL, (1.26, 0.01)),
      64: (*_ZOOMS_SMALL, (1.26, 0.01)),
      224: (*_ZOOMS_LARGE, (1.31, 0.03)),
      299: (*_ZOOMS_LARGE, (1.31, 0.03)),
    },
    "snow": {
      32: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
      ),
      64: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
      ),
      224: _SNOW_LARGE,
      299: _SNOW_LARGE,
    },
    "frost": {
      32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
      64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
      224: _FROST_LARGE,
      299: _FROST_LARGE,
    },
    "fog": {
      32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
      64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
      224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
      299: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    },
    "brightness": {
      32: (0.05, 0.1, 0.15, 0.2, 0.3),
      64: (0.1, 0.2, 0.3, 0.4, 0.5),
      224: (0.1, 0.2, 0.3, 0.4, 0.5),
      299: (0.1, 0.2, 0.3, 0.4, 0.5),
    },
    "contrast": {
      32: (0.75, 0.5, 0.4, 0.3, 0.15),
      64: (0.4, 0.3, 0.2, 0.1, 0.05),
      224: (0.4, 0.3, 0.2, 0.1, 0.05),
      299: (0.4, 0.3, 0.2, 0.1, 0.05),
    },
    "elastic_transform": {
      32: _times(
        32,
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
      ),
      64: _times(
        64,
        (0, 0, 0.08),
        (0.05, 0.3, 0.06),
        (0.1, 0.08, 0.06),
        (0.1, 0.03, 0.03),
        (0.16, 0.03, 0.02),
      ),
      224: _times(244, *_ELASTIC_LARGE),
      299: _times(360, *_ELASTIC_LARGE),
    },
    "pixelate": {
      32: (0.95, 0.9, 0.85, 0.75, 0.65),
      64: (0.9, 0.8, 0.7, 0.6, 0.5),
      224: (0.6, 0.5, 0.4, 0.3, 0.25),
      299: (0.5, 0.4, 0.3, 0.25, 0.2),
    },
    "jpeg_compression": {
      32: (80, 65, 58, 50, 40),
      64: (65, 58, 50, 40, 25),
      224: (25, 18, 15, 10, 7),
      299: (23, 16, 13, 8, 5),
    },
  }
)

# Factor by which frost's textures are made smaller first.
TEXTURE_SCALE: Mapping[int, float] = types.MappingProxyType(
  {32: 0.2, 64: 0.3, 224: 1.0, 299: 1.0}
)


def nearest(side: int) -> int:
  """Return the size in SIZES whose ratio to a side, in pixels, is least.

  >>> [nearest(side) for side in (28, 48, 128, 256, 384)]
  [32, 64, 224, 224, 299]
  """
  return min(SIZES, key=lambda size: abs(math.log(size / side)))
