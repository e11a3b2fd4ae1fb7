"""Peak signal-to-noise ratio of images that an autoencoder freed of noise."""

from typing import Any

import numpy as np

from evaluators.metrics import intervals

KIND = "denoising"
# Least mean squared error, of 100 dB: an image without any has no ratio.
_LEAST = 1e-10


def psnr(error_N: np.ndarray) -> np.ndarray:
  """Return the ratio of each image in dB, by its mean squared error: [N].

  Args:
    error_N: of pixels in [0, 1], whose peak is 1. Computed as float64, so
      that "gain" of record is the difference of its two means.

  >>> psnr(np.array([0.01, 0.0001]))
  array([20., 40.])
  """
  return -10 * np.log10(np.maximum(error_N.astype(np.float64), _LEAST))


def record(rebuilt_N: np.ndarray, noisy_N: np.ndarray) -> dict[str, Any]:
  """Return figures, bootstrap intervals and "chance", for results.json.

  Chance is the ratio of the noisy images themselves.

  Args:
    rebuilt_N: mean squared error of each image of the autoencoder.
    noisy_N: the same of the images that it was given.

  >>> made = record(np.full(3, 0.001), np.full(3, 0.01))
  >>> made["psnr"], made["gain"], made["chance"]["psnr"]
  (30.0, 10.0, 20.0)
  """
  psnr_N, before_N = psnr(rebuilt_N), psnr(noisy_N)
  values = {"psnr": psnr_N, "gain": psnr_N - before_N}
  return {
    "kind": KIND,
    "num_images": len(psnr_N),
    **{name: float(value_N.mean()) for name, value_N in values.items()},
    "chance": {"psnr": float(before_N.mean()), "gain": 0.0},
    "intervals": {
      name: intervals.clustered(value_N, is_share=False).tolist()
      for name, value_N in values.items()
    },
  }
