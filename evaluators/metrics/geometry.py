"""Geometry of two sets of embeddings: modality gap, alignment, uniformity.

Embeddings are L2-normalised rows. Sums over pairs are taken in blocks, so that
memory does not grow with the number of pairs; products are float32, their sums
float64.
"""

import math

import numpy as np

from evaluators.metrics import intervals

# Rows of a block of pairs: 16 MiB of float32 at a time.
_NUM_ROWS = 2048


def figures(
  zimg_NE: np.ndarray, ztxt_ME: np.ndarray, owners: np.ndarray
) -> dict[str, float]:
  """Return modality_gap, alignment, and uniformity of images and of texts.

  Args:
    zimg_NE: images.
    ztxt_ME: texts.
    owners: int [M], the image that each text belongs to.

  >>> z = np.eye(2, dtype=np.float32)
  >>> figures(z, z[::-1], np.array([0, 1]))["alignment"]
  2.0
  """
  return {
    "modality_gap": modality_gap(zimg_NE, ztxt_ME),
    "alignment": alignment(zimg_NE, ztxt_ME, owners),
    "uniformity_images": uniformity(zimg_NE),
    "uniformity_texts": uniformity(ztxt_ME),
  }


def modality_gap(zimg_NE: np.ndarray, ztxt_ME: np.ndarray) -> float:
  """Return the distance between the means of images and of texts.

  Source: Liang et al. (NeurIPS 2022, arXiv 2203.02053).

  >>> modality_gap(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]]))
  2.0
  """
  centers = [z.mean(axis=0, dtype=np.float64) for z in (zimg_NE, ztxt_ME)]
  return float(np.linalg.norm(centers[0] - centers[1]))


def alignment(
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  owners: np.ndarray,
  *,
  power: float = 2.0,
) -> float:
  """Return the mean over right pairs of their distance to a power.

  Lower is better. Source: Wang and Isola (ICML 2020, arXiv 2005.10242),
  section 4.1, with alpha = 2.
  """
  total = 0.0
  for start in range(0, len(ztxt_ME), _NUM_ROWS):
    rows = slice(start, start + _NUM_ROWS)
    gap_mE = zimg_NE[owners[rows]].astype(np.float64) - ztxt_ME[rows]
    total += float(((gap_mE**2).sum(axis=1) ** (power / 2)).sum())
  return total / len(ztxt_ME)


def uniformity(z_NE: np.ndarray, *, t: float = 2.0) -> float:
  """Return ln of the mean over pairs i < j of exp(-t |z_i - z_j|^2).

  Lower is more uniform; 0 is a single point. It takes N^2 E / 2
  multiplications. Source: Wang and Isola (arXiv 2005.10242), section 4.1, with
  t = 2.

  Raises:
    ValueError: there are fewer than two rows.

  >>> round(uniformity(np.eye(3, dtype=np.float32)), 6)
  -4.0
  """
  return uniformity_and_kernels(z_NE, t=t)[0]


def uniformity_and_kernels(
  z_NE: np.ndarray, *, t: float = 2.0
) -> tuple[float, np.ndarray]:
  """Return the uniformity, and each row's mean kernel with the others: [N].

  ln of the mean of the kernels is the uniformity; arguments as `uniformity`.
  """
  num = len(z_NE)
  if num < 2:
    raise ValueError(f"embeddings must have at least 2 rows; got {num}")
  z_NE = np.asarray(z_NE, np.float32)
  square_N = (z_NE.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
  sum_N = np.zeros(num)
  for i in range(0, num, _NUM_ROWS):
    rows = slice(i, i + _NUM_ROWS)
    for j in range(i, num, _NUM_ROWS):
      columns = slice(j, j + _NUM_ROWS)
      kernel = z_NE[rows] @ z_NE[columns].T
      kernel *= 2
      kernel -= square_N[rows, None]
      kernel -= square_N[columns]
      # Rounding alone makes a squared distance negative.
      np.minimum(kernel, 0, out=kernel)
      kernel *= t
      np.exp(kernel, out=kernel)
      sum_N[rows] += kernel.sum(axis=1, dtype=np.float64)
      if j > i:
        sum_N[columns] += kernel.sum(axis=0, dtype=np.float64)
      else:  # each row is there with itself
        sum_N[rows] -= np.diagonal(kernel)
  kernel_N = sum_N / (num - 1)
  return math.log(kernel_N.mean()), kernel_N


def uniformity_interval(
  kernel_N: np.ndarray,
  cluster_N: np.ndarray | None = None,
  *,
  num_resamples: int = intervals.NUM_RESAMPLES,
) -> np.ndarray:
  """Bootstrap the uniformity of rows, resampling clusters of them: [2].

  A mean over pairs differs from its expectation by twice what the mean of the
  rows' kernels differs by, to first order (Hoeffding, 1948): a resample costs N
  additions instead of N^2. The interval is of the expected figure of as many
  clusters; where all rows have the same mean kernel, as uniform ones have, it
  is too wide, since the second order is then all that there is. For shares of
  simulated sets that it covers see tests/evaluators/metrics/test_geometry.py.

  Args:
    kernel_N: mean kernel of each row, of `uniformity_and_kernels`.
    cluster_N: integers that name the cluster of each row, such as the image of
      a caption; each row is one by itself if absent.
    num_resamples: resamples of the bootstrap.
  """
  mean = float(kernel_N.mean())
  bounds = intervals.clustered(
    kernel_N, cluster_N, is_share=False, num_resamples=num_resamples
  )
  # No distance is above 2, or below 0.
  return np.log(np.clip(mean + 2 * (bounds - mean), math.exp(-8), 1))
