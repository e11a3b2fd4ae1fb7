"""Paired comparison of two groups of runs that share seeds.

Runs of one seed see the same data in the same order and begin alike, so the
difference within a seed has less noise than the two figures. Its mean has
Student's paired t interval and test, which two seeds can have; with fewer than
five, both are wide, as they should be.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from evaluators.metrics import intervals, paired

# Spread of equal differences by rounding to 53 bits, as a part of the figures:
# 0.3 - 0.1 is not 0.4 - 0.2. Rounding stays well below this.
_ROUNDING = 1e-12


def compare(
  a: Mapping[str, float], b: Mapping[str, float]
) -> dict[str, Any] | None:
  """Compare b with a over the seeds that both have; None for fewer than two.

  Args:
    a: seed -> figure of the first group.
    b: seed -> figure of the second group.

  Returns:
    n; the mean difference b - a; its interval; p, two-sided, None where all
    differences are equal.

  >>> compare({"0": 0.1, "1": 0.2, "2": 0.3}, {"0": 0.2, "1": 0.4, "2": 0.6})
  {'n': 3, 'difference': 0.20..., 'interval': [-0.04..., 0.44...], 'p': 0.07...}
  """
  shared = [seed for seed in a if seed in b]
  if len(shared) < 2:
    return None
  items_a, items_b = (
    paired.Items(name, shared, np.array([x[seed] for seed in shared]))
    for name, x in (("a", a), ("b", b))
  )
  row_N = paired.matched_rows(items_a, items_b)
  difference_N = items_b.value_N[row_N] - items_a.value_N
  n, mean = len(shared), float(difference_N.mean())
  spread = float(difference_N.std(ddof=1))
  if spread < _ROUNDING * max(abs(items_a.value_N).max(), abs(mean)):
    spread = 0.0
  error = spread / math.sqrt(n)
  half = float(stats.t.ppf((1 + intervals.LEVEL) / 2, n - 1)) * error
  p = 2 * float(stats.t.sf(abs(mean) / error, n - 1)) if error else None
  return {
    "n": n,
    "difference": mean,
    "interval": [mean - half, mean + half],
    "p": p,
  }
