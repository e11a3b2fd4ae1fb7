"""Resamples of a bootstrap, drawn as counts of what occurs, and their bounds.

Drawing N items one by one, with replacement, draws the counts of their distinct
types from a multinomial: figures that depend on the types alone need no more,
and cost nothing more for a larger set.
"""

import hashlib
import math
import statistics
from collections.abc import Iterator

import numpy as np

# Random counts that are held at once: they stay in the cache.
_NUM_COUNTS = 2**17


def type_counts(
  count_U: np.ndarray, type_UT: np.ndarray, num_resamples: int, width: int = 0
) -> Iterator[np.ndarray]:
  """Yield resampled counts of types, [R, U] in parts, each of sum N.

  `width` is the size of what the caller makes of a row, where it is more.
  """
  rng = generator(count_U, type_UT)
  total, num_types = int(count_U.sum()), len(count_U)
  # Drawing one by one is faster where most are of a type of their own.
  is_rare = 3 * num_types > total
  for num in chunks(num_resamples, max(total * is_rare, num_types, width)):
    if is_rare:
      drawn = rng.integers(total, size=(num, total))
      type_RC = np.repeat(np.arange(num_types), count_U)[drawn]
      type_RC += np.arange(num)[:, None] * num_types
      count = np.bincount(type_RC.ravel(), minlength=num * num_types)
      yield count.reshape(num, num_types)
    else:
      yield rng.multinomial(total, count_U / total, size=num)


def chunks(num_resamples: int, width: int) -> Iterator[int]:
  most = max(1, _NUM_COUNTS // width)
  for start in range(0, num_resamples, most):
    yield min(most, num_resamples - start)


def generator(*arrays: np.ndarray) -> np.random.Generator:
  """Return a generator whose seed is the digest of the arrays' values."""
  digest = hashlib.blake2b(digest_size=16)
  for array in arrays:
    digest.update(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array, np.float64).tobytes())
  return np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def percentiles(
  replica_RF: np.ndarray, freedom: int, level: float
) -> np.ndarray:
  """Return the bounds of each column of replicas: [F, 2]."""
  z = _expanded(freedom, level)
  tail = statistics.NormalDist().cdf(-z)
  return np.quantile(replica_RF, [tail, 1 - tail], axis=0).T


def accelerated_percentiles(
  replica_R: np.ndarray, skewness: float, freedom: int, level: float
) -> np.ndarray:
  """Return bounds of a mean that allow for its skewness: [2].

  They are BCa's, whose bias and acceleration of a mean are both a sixth of its
  skewness. Source: Efron (1987), JASA 82, 171-185.
  """
  a = skewness / 6
  tails = []
  for z in (-_expanded(freedom, level), _expanded(freedom, level)):
    tails.append(statistics.NormalDist().cdf(a + (a + z) / (1 - a * (a + z))))
  return np.quantile(replica_R, tails)


def _expanded(freedom: int, level: float) -> float:
  """Return standard errors to a bound, expanded for few samples."""
  freedom = max(freedom, 1)
  return student_quantile(level, freedom) * math.sqrt((freedom + 1) / freedom)


def moved_percentiles(
  replica_R: np.ndarray, whole: float, freedom: int, level: float
) -> np.ndarray:
  """Return bounds of a share whose replicas are off by their mean: [2]."""
  moved_R1 = (replica_R + (whole - replica_R.mean()))[:, None]
  return np.clip(percentiles(moved_R1, freedom, level)[0], 0, 1)


def normal_quantile(level: float) -> float:
  """Return the half-width of an interval in standard errors: 1.96 for 0.95."""
  if not 0 < level < 1:
    raise ValueError(f"level must be between 0 and 1, as 0.95 is; got {level}")
  return statistics.NormalDist().inv_cdf((1 + level) / 2)


def student_quantile(level: float, freedom: int) -> float:
  """Return the quantile of Student's t, to 1 % from 3 degrees of freedom on.

  Source: the expansion of Fisher and Cornish (1960), Technometrics 2, 209-225.
  """
  z = normal_quantile(level)
  return (
    z
    + (z**3 + z) / (4 * freedom)
    + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
  )
