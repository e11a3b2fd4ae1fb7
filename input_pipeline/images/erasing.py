"""Random erasing (arXiv 1708.04896): a box of noise over a part of an image.

Areas, shapes and noise are those of timm 1.0's RandomErasing (mode "pixel"),
which open_clip uses: normal noise on its normalised pixels. Here the noise is
converted to levels and clipped to 0 to 255, which changes 6 % of it.
"""

import math

import numpy as np

from input_pipeline.images import image_protocols

# Range of the box's share of the image's area, and range of the logarithm of
# its height over width; timm's defaults.
_AREA = (0.02, 1 / 3)
_LOG_RATIO = (math.log(0.3), -math.log(0.3))
# Number of boxes that are tried until one fits; if none does, nothing is
# erased.
_TRIES = 10
# Protocol whose mean and std open_clip normalises with.
_CLIP = image_protocols.PROTOCOLS["clip"]


def erase(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Return an image uint8 [Y, X, 3] with one random box replaced by noise."""
  height, width, channels = image.shape
  for _ in range(_TRIES):
    area = height * width * rng.uniform(*_AREA)
    ratio = math.exp(rng.uniform(*_LOG_RATIO))
    high = round(math.sqrt(area * ratio))
    wide = round(math.sqrt(area / ratio))
    if high < height and wide < width:
      top = int(rng.integers(height - high + 1))
      left = int(rng.integers(width - wide + 1))
      noise = rng.standard_normal((high, wide, channels), np.float32)
      levels = 255 * (noise * _CLIP.std + _CLIP.mean)
      erased = image.copy()
      erased[top : top + high, left : left + wide] = np.clip(
        np.rint(levels), 0, 255
      )
      return erased
  return image
