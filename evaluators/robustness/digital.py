"""Digital corruptions of ImageNet-C: contrast, elastic, pixelate, JPEG.

The form of the functions is that of evaluators/robustness/noise.py.
"""

import io

import numpy as np
from PIL import Image

from evaluators.robustness import filters


def contrast(
  image_YXC: np.ndarray, factor: float, rng: np.random.Generator
) -> np.ndarray:
  """Move each channel towards its mean; `factor` of the distance stays."""
  del rng
  mean_C = image_YXC.mean(axis=(0, 1))
  return (image_YXC - mean_C) * factor + mean_C


def elastic_transform(
  image_YXC: np.ndarray,
  constant: tuple[float, float, float],
  rng: np.random.Generator,
) -> np.ndarray:
  """Warp by an affine map, then by smooth noise.

  The constant's parts, all in pixels: factor of the noise, its smoothing's
  sigma, largest shift of the three points that define the affine map.
  """
  factor, sigma, largest = constant
  height, width = image_YXC.shape[:2]
  x_YXC = image_YXC.astype(np.float32)
  y_YX, x_YX = np.mgrid[:height, :width].astype(np.float64)

  cy, cx, reach = height // 2, width // 2, min(height, width) // 3
  before_PX = np.array(
    [
      [cx + reach, cy + reach],
      [cx + reach, cy - reach],
      [cx - reach, cy - reach],
    ]
  )
  after_PX = before_PX + rng.uniform(-largest, largest, before_PX.shape)
  # Each pixel's position in the image before, as homogeneous coordinates.
  map_PX = np.linalg.solve(np.c_[after_PX, np.ones(3)], before_PX)
  from_X = np.stack([x_YX, y_YX, np.ones_like(x_YX)], -1) @ map_PX
  x_YXC = filters.sample(x_YXC, from_X[..., 1], from_X[..., 0], "mirror")

  shift_x, shift_y = (
    filters.smooth_field(rng.uniform(-1, 1, (height, width)), sigma) * factor
    for _ in range(2)
  )
  return filters.sample(x_YXC, y_YX + shift_y, x_YX + shift_x, "reflect")


def pixelate(
  image_YXC: np.ndarray, factor: float, rng: np.random.Generator
) -> np.ndarray:
  """Average over boxes, and enlarge them again; `factor` shortens a side."""
  del rng
  height, width = image_YXC.shape[:2]
  image = Image.fromarray(image_YXC)
  small = (max(1, int(width * factor)), max(1, int(height * factor)))
  image = image.resize(small, Image.Resampling.BOX)
  return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(
  image_YXC: np.ndarray, quality: int, rng: np.random.Generator
) -> np.ndarray:
  """Return the image after JPEG of this quality, 4:2:0 as Pillow writes."""
  del rng
  written = io.BytesIO()
  Image.fromarray(image_YXC).save(written, "JPEG", quality=quality)
  with Image.open(written) as image:
    return np.asarray(image)
