"""Noise of ImageNet-C: Gaussian, shot and impulse noise.

Functions of evaluators/robustness/corruptions.py's KINDS: image uint8
[H, W, 3], constant of the severity, random stream -> values of 0 to 255 before
they are clipped and truncated to uint8.
"""

import numpy as np


def gaussian_noise(
  image_YXC: np.ndarray, sigma: float, rng: np.random.Generator
) -> np.ndarray:
  """Add normal noise of this standard deviation, on a scale of 0 to 1."""
  x_YXC = image_YXC / 255
  return (x_YXC + rng.normal(scale=sigma, size=x_YXC.shape)) * 255


def shot_noise(
  image_YXC: np.ndarray, rate: float, rng: np.random.Generator
) -> np.ndarray:
  """Draw Poisson counts, `rate` for a value of 255."""
  return rng.poisson(image_YXC / 255 * rate) / rate * 255


def impulse_noise(
  image_YXC: np.ndarray, amount: float, rng: np.random.Generator
) -> np.ndarray:
  """Set a share of the values, each channel on its own, to 0 or to 255."""
  is_hit = rng.random(image_YXC.shape) <= amount
  is_salt = rng.random(image_YXC.shape) <= 0.5
  return np.where(is_hit, np.where(is_salt, 255, 0), image_YXC)
