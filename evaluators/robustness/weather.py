"""Weather of ImageNet-C: snow, frost, fog and brightness.

The form of the functions is that of evaluators/robustness/noise.py; `frost`
has textures too.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.robustness import filters


def snow(
  image_YXC: np.ndarray,
  constant: tuple[float, float, float, float, int, float, float],
  rng: np.random.Generator,
) -> np.ndarray:
  """Lay falling flakes over an image that is made paler.

  The constant's parts: mean and deviation of the noise that flakes are cut
  from, its zoom, the level that it is cut at, radius and sigma of the motion
  blur, and the share of the image in the mean with its pale version.
  """
  mean, sigma, zoom, level, radius, blur, share = constant
  x_YXC = image_YXC.astype(np.float32) / 255
  flakes_YX1 = rng.normal(mean, sigma, image_YXC.shape[:2])[..., None]
  flakes_YX1 = filters.zoom(flakes_YX1, zoom)
  flakes_YX1[flakes_YX1 < level] = 0
  flakes_YX1 = filters.truncated(flakes_YX1 * 255)
  angle = rng.uniform(-135, -45)
  flakes_YX1 = filters.motion(flakes_YX1, radius, blur, angle) / 255
  grey_YX1 = (x_YXC @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
  pale_YXC = np.maximum(x_YXC, grey_YX1 * 1.5 + 0.5)
  x_YXC = share * x_YXC + (1 - share) * pale_YXC
  return (x_YXC + flakes_YX1 + np.rot90(flakes_YX1, k=2)) * 255


def frost(
  image_YXC: np.ndarray,
  constant: tuple[float, float],
  rng: np.random.Generator,
  textures: Sequence[np.ndarray],
) -> np.ndarray:
  """Add a random crop of a random texture: weights of image and texture."""
  texture_YXC = textures[int(rng.integers(len(textures)))]
  height, width = image_YXC.shape[:2]
  y = rng.integers(0, max(1, texture_YXC.shape[0] - height))
  x = rng.integers(0, max(1, texture_YXC.shape[1] - width))
  crop_YXC = texture_YXC[y : y + height, x : x + width]
  return constant[0] * image_YXC + constant[1] * crop_YXC


def fog(
  image_YXC: np.ndarray,
  constant: tuple[float, float],
  rng: np.random.Generator,
) -> np.ndarray:
  """Add a cloud, and scale back to the range: its weight, its decay."""
  weight, decay = constant
  x_YXC = image_YXC / 255
  highest = x_YXC.max()
  height, width = image_YXC.shape[:2]
  cloud_SS = _cloud(1 << (max(height, width) - 1).bit_length(), decay, rng)
  x_YXC += weight * cloud_SS[:height, :width, None]
  return x_YXC * (highest / (highest + weight)) * 255


def _cloud(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
  """Return heights of 0 to 1, [side, side], by diamond-square on a torus.

  Midpoints are means of four neighbours plus noise, whose amplitude is divided
  by the square of `decay` from one scale to the next. `side` is a power of 2.
  """
  height_SS = np.zeros((side, side))
  step, amplitude = side, 100.0

  def displaced(total: np.ndarray) -> np.ndarray:
    noise = rng.uniform(-amplitude, amplitude, total.shape)
    return total / 4 + amplitude * noise

  while step >= 2:
    half = step // 2
    corner = height_SS[::step, ::step]
    pair = corner + np.roll(corner, -1, axis=0)
    middle = displaced(pair + np.roll(pair, -1, axis=1))
    height_SS[half::step, half::step] = middle
    for axis, rows, columns in ((0, 0, half), (1, half, 0)):
      height_SS[rows::step, columns::step] = displaced(
        middle
        + np.roll(middle, 1, axis)
        + corner
        + np.roll(corner, -1, 1 - axis)
      )
    step, amplitude = half, amplitude / decay
  height_SS -= height_SS.min()
  return height_SS / height_SS.max()


def brightness(
  image_YXC: np.ndarray, added: float, rng: np.random.Generator
) -> np.ndarray:
  """Raise V of HSV, of 0 to 1, by `added`; hue and saturation stay."""
  del rng
  x_YXC = image_YXC / 255
  value_YX1 = x_YXC.max(axis=2, keepdims=True)
  raised_YX1 = np.minimum(value_YX1 + added, 1)
  # Channels are proportional to V. Black has no hue: it becomes grey.
  ratio_YX1 = raised_YX1 / np.maximum(value_YX1, 1 / 255)
  return np.where(value_YX1 > 0, x_YXC * ratio_YX1, raised_YX1) * 255
