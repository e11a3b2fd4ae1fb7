"""Blur of ImageNet-C: defocus, frosted glass, motion and zoom.

The form of the functions is that of evaluators/robustness/noise.py.
"""

import numpy as np

from evaluators.robustness import filters


def defocus_blur(
  image_YXC: np.ndarray,
  constant: tuple[float, float],
  rng: np.random.Generator,
) -> np.ndarray:
  """Average over a disc: its radius, and the sigma that smooths its rim."""
  del rng
  radius, sigma = constant
  half, taps = (8, 3) if radius <= 8 else (int(radius), 5)
  y, x = np.mgrid[-half : half + 1, -half : half + 1]
  disc = (x**2 + y**2 <= radius**2).astype(np.float64)
  disc /= disc.sum()
  rim = np.exp(-0.5 * ((np.arange(taps) - taps // 2) / sigma) ** 2)
  rim /= rim.sum()
  disc = filters.correlate(disc[..., None], np.outer(rim, rim))[..., 0]
  return filters.correlate(image_YXC / 1.0, disc)


def glass_blur(
  image_YXC: np.ndarray,
  constant: tuple[float, int, int],
  rng: np.random.Generator,
) -> np.ndarray:
  """Blur, move pixels about, blur again: sigma, reach, number of rounds.

  A pixel takes the value of a neighbour up to `reach` away (`reach` itself only
  up and to the left), from the bottom right on, so that later pixels may take
  moved values. The authors' code is meant to exchange the two, but its
  neighbour keeps its value; the published sets were made so.
  """
  sigma, reach, num_rounds = constant
  height, width = image_YXC.shape[:2]
  x_YXC = filters.truncated(filters.gaussian(image_YXC / 255, sigma) * 255)
  rows = np.arange(height - reach, reach, -1)
  columns = np.arange(width - reach, reach, -1)
  row_P, column_P = (
    grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij")
  )
  x_PC = x_YXC.reshape(-1, x_YXC.shape[-1])
  for _ in range(num_rounds):
    step_P2 = rng.integers(-reach, reach, size=(len(row_P), 2))
    taken_P = (row_P + step_P2[:, 1]) * width + column_P + step_P2[:, 0]
    x_PC = x_PC[_sources(row_P * width + column_P, taken_P, len(x_PC))]
  return filters.gaussian(x_PC.reshape(x_YXC.shape) / 255, sigma) * 255


def _sources(
  pixel_P: np.ndarray, taken_P: np.ndarray, num_pixels: int
) -> np.ndarray:
  """Return the pixel whose value each pixel has after moves in this order.

  Move p sets the value of pixel_P[p] to that of taken_P[p] at that time: the
  moved one where that pixel came earlier. Chains of such moves are followed by
  doubling: log2 of their length many steps instead of one a pixel.
  """
  move = np.full(num_pixels, len(pixel_P))
  move[pixel_P] = np.arange(len(pixel_P))
  # Slots below num_pixels stand for values before, those above for moved ones.
  slot = np.arange(2 * num_pixels)
  is_moved = move[taken_P] < move[pixel_P]
  slot[num_pixels + pixel_P] = taken_P + num_pixels * is_moved
  while not np.array_equal(further := slot[slot], slot):
    slot = further
  moved = slot[num_pixels:]
  return np.where(move < len(pixel_P), moved, np.arange(num_pixels))


def motion_blur(
  image_YXC: np.ndarray,
  constant: tuple[int, float],
  rng: np.random.Generator,
) -> np.ndarray:
  """Blur along a line within 45 degrees of level: radius and sigma."""
  return filters.motion(image_YXC, *constant, rng.uniform(-45, 45))


def zoom_blur(
  image_YXC: np.ndarray,
  constant: tuple[float, float],
  rng: np.random.Generator,
) -> np.ndarray:
  """Average the image with itself, zoomed by 1, 1 + step, ... below stop."""
  del rng
  stop, step = constant
  image_YXC = image_YXC.astype(np.float32)
  factors = np.arange(1, stop, step)
  total = image_YXC + sum(filters.zoom(image_YXC, f) for f in factors)
  return total / (len(factors) + 1)
