"""Paired comparison of two models on the same items.

Two accuracies on one set differ by the items that only one model has right: b
items that the first has right and the second wrong, c the other way around.
McNemar's exact test asks whether b of b + c is far from a half; its mid-p
variant counts the observed outcome by half, and is less conservative
(Fagerland, Lydersen and Laake, 2013, BMC Medical Research Methodology 13:91).

The difference of two accuracies has the adjusted interval of Bonett and Price
(2012, Journal of Educational and Behavioral Statistics 37, 479-488): an item is
added to b and one to c. Figures of other kinds, and items in clusters or
strata, have a paired bootstrap of their difference.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from evaluators.metrics import intervals, resampling


@dataclasses.dataclass(frozen=True)
class Items:
  """Figures of one model, item by item.

  Attributes:
    name: of the model or its results, for messages.
    keys: of the items, each once, in any order.
    value_N: bool or 0/1 for right answers, or a figure of each item.
  """

  name: str
  keys: Sequence[str]
  value_N: np.ndarray


def mcnemar(
  right_a_N: np.ndarray, right_b_N: np.ndarray
) -> dict[str, float | int]:
  """Test whether two models are right on equally many items.

  Returns:
    only_a and only_b: items that one model alone has right; p_exact and p_mid:
    two-sided p-values of McNemar's exact and mid-p tests, both 1 where no item
    is answered differently.

  >>> mcnemar(np.array([1] * 7 + [0]), np.array([0] * 7 + [1]))
  {'only_a': 7, 'only_b': 1, 'p_exact': 0.0703125, 'p_mid': 0.0390625}
  """
  right_a_N, right_b_N = (_bools(x) for x in (right_a_N, right_b_N))
  only_a = int((right_a_N & ~right_b_N).sum())
  only_b = int((~right_a_N & right_b_N).sum())
  p_exact, p_mid = _binomial_p(min(only_a, only_b), only_a + only_b)
  return {
    "only_a": only_a,
    "only_b": only_b,
    "p_exact": p_exact,
    "p_mid": p_mid,
  }


def compare(
  a: Items,
  b: Items,
  *,
  clusters: Sequence[int] | None = None,
  strata: Sequence[int] | None = None,
  level: float = intervals.LEVEL,
) -> dict[str, float | int | list[float]]:
  """Compare b with a on the items that both have.

  Args:
    a: items of the first model.
    b: the same items of the second model.
    clusters: of a's items, resampled whole, such as captions of one image.
    strata: of a's items, such as their labels: the figure is the mean over
      strata of their means, and each stratum is resampled by itself.

  Returns:
    num_items; the figures a and b; their difference b - a and its interval;
    where all values are 0 or 1 and the figure is the share of right items,
    `mcnemar`.

  Raises:
    ValueError: a key is repeated, or the two have different keys.

  >>> keys = ["1", "2", "3", "4"]
  >>> a = Items("a", keys, np.array([1, 0, 0, 1]))
  >>> b = Items("b", keys[::-1], np.array([1, 1, 1, 1]))
  >>> compare(a, b)["difference"]
  0.5
  """
  if clusters is not None and strata is not None:
    raise ValueError("clusters and strata exclude each other; got both")
  row_N = matched_rows(a, b)
  a_N = np.asarray(a.value_N, np.float64)
  b_N = np.asarray(b.value_N, np.float64)[row_N]
  is_binary = np.isin(a_N, (0, 1)).all() and np.isin(b_N, (0, 1)).all()
  is_plain = clusters is None and strata is None
  test = mcnemar(a_N, b_N) if is_binary and is_plain else {}
  if strata is None:
    weight_N = np.full(len(a_N), 1 / len(a_N))
    bounds = (
      _difference(test["only_a"], test["only_b"], len(a_N), level=level)
      if test
      else intervals.clustered(
        b_N - a_N,
        None if clusters is None else np.asarray(clusters),
        is_share=False,
        level=level,
      )
    )
  else:
    stratum_N = np.asarray(strata)
    _, index_N, n_S = np.unique(
      stratum_N, return_inverse=True, return_counts=True
    )
    weight_N = 1 / (n_S[index_N] * len(n_S))
    bounds = intervals.stratified(
      b_N - a_N, stratum_N, is_share=False, level=level
    )
  figure_a, figure_b = float(weight_N @ a_N), float(weight_N @ b_N)
  return {
    "num_items": len(a_N),
    "a": figure_a,
    "b": figure_b,
    "difference": float(weight_N @ (b_N - a_N)),
    "interval": bounds.tolist(),
    **test,
  }


def matched_rows(a: Items, b: Items) -> np.ndarray:
  """Return the row of b for each item of a: int [N].

  Raises:
    ValueError: see `compare`.
  """
  for items in (a, b):
    if len(items.keys) != len(items.value_N):
      raise ValueError(
        f"{items.name} must have a value for each of {len(items.keys)} keys; "
        f"got {len(items.value_N)}"
      )
    key, count = collections.Counter(items.keys).most_common(1)[0]
    if count > 1:
      raise ValueError(
        f"{items.name} must have each key once; got {key!r} {count} times"
      )
  rows = {key: row for row, key in enumerate(b.keys)}
  only_a = [key for key in a.keys if key not in rows]
  in_a = set(a.keys)
  only_b = [key for key in b.keys if key not in in_a]
  if only_a or only_b:
    parts = [
      f"{len(only)} of {len(items.keys)} are in {items.name} alone, such as "
      f"{only[0]!r}"
      for items, only in ((a, only_a), (b, only_b))
      if only
    ]
    raise ValueError(
      f"{a.name} and {b.name} must have the same items; got different keys: "
      + "; ".join(parts)
    )
  return np.array([rows[key] for key in a.keys], np.int64)


def _binomial_p(fewer: int, n: int) -> tuple[float, float]:
  """Return exact and mid-p values, two-sided, of `fewer` of n at one half."""
  if n == 0:
    return 1.0, 1.0
  term = total = 1
  for i in range(fewer):
    term = term * (n - i) // (i + 1)
    total += term
  # Whole numbers of any size: their quotients are correctly rounded.
  if 2 * fewer == n:
    return 1.0, 1 - term / 2 ** (n + 1)
  return 2 * total / 2**n, (2 * total - term) / 2**n


def _difference(
  only_a: float, only_b: float, n: int, *, level: float
) -> np.ndarray:
  share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
  center = share_b - share_a
  error = math.sqrt((share_a + share_b - center**2) / (n + 2))
  half = resampling.normal_quantile(level) * error
  return np.clip([center - half, center + half], -1, 1)


def _bools(right_N: np.ndarray) -> np.ndarray:
  right_N = np.asarray(right_N)
  if not np.isin(right_N, (0, 1)).all():
    wrong = right_N[~np.isin(right_N, (0, 1))][0]
    raise ValueError(f"right answers must be 0 or 1; got {wrong}")
  return right_N.astype(bool)
