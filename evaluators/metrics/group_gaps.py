"""Gap between groups with its interval, and who is at the top of a ranking.

The gap is the largest less the smallest accuracy of the groups. It is biased:
groups of equal accuracy have a gap above 0, the more so the more and the
smaller they are, and a percentile bootstrap of it never holds 0. Its interval
here comes of one that holds all differences of two groups at once (max-t):

  t = the largest |difference - true difference| / standard error

over pairs of groups, whose 95th percentile is that of a bootstrap stratified by
group: right answers of each are drawn from a binomial of its share, smoothed by
one right and one wrong answer (Agresti and Caffo, 2000, The American
Statistician 54, 280-288), so that a group that has all right has an error too.
The gap's bounds are the largest lower and the largest upper bound of a
difference. Source of the principle: Westfall and Young (1993), Resampling-Based
Multiple Testing; max-t as of Romano and Wolf (2005), Econometrica 73, 1237.

Share of 600 simulated sets whose interval holds the true gap, in percent,
beside that of percentiles of the bootstrapped gap:

  groups, examples of each              true gap   max-t   percentiles
  2 x 100, both 0.7                         0       94.5       81.5
  7 x 200, all 0.7                          0       95.0        0.0
  20 x 50, all 0.8                          0       93.3        0.0
  2 x 50, 0.9 and 0.6                      0.3      94.8       95.7
  7 x 30, 0.5 to 0.9                       0.4      99.2       87.5
  1000 to 20, 0.95 to 0.7                  0.25     98.7       95.7

It is too wide where many groups differ: no interval that also holds for equal
groups can be as narrow.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import groups as groups_lib
from evaluators.metrics import intervals, resampling

METHOD = "max-t over pairs of groups, 95 %, of a bootstrap stratified by group"


def gap(
  groups: groups_lib.Groups,
  left_out: Sequence[str] = (),
  *,
  level: float = intervals.LEVEL,
) -> dict[str, Any]:
  """Return the gap of a share between groups, and its interval.

  Args:
    groups: means of a figure that is 0 or 1 for each example.
    left_out: names of groups that do not count.
    level: of the interval.

  Returns:
    gap, interval, and the names best and worst; of fewer than two groups with
    examples the gap and its interval are None.

  >>> right_N, group_N = np.array([1, 1, 1, 0] * 50), np.arange(200) % 2
  >>> row = gap(groups_lib.by_group(right_N, group_N, ["a", "b"]))
  >>> row["gap"], row["best"], row["worst"]
  (0.5, 'a', 'b')
  """
  is_in = ~np.isin(groups.names, list(left_out)) & (groups.n_G > 0)
  n_G, mean_G = groups.n_G[is_in], groups.mean_G[is_in]
  names = np.asarray(groups.names, object)[is_in]
  result: dict[str, Any] = {
    "gap": None,
    "interval": None,
    "best": str(names[mean_G.argmax()]) if len(names) else None,
    "worst": str(names[mean_G.argmin()]) if len(names) else None,
  }
  if len(names) < 2:
    return result
  share_G = (mean_G * n_G + 1) / (n_G + 2)
  variance_G = share_G * (1 - share_G) / n_G
  error_GG = np.sqrt(variance_G[:, None] + variance_G)
  rng = resampling.generator(mean_G, n_G)
  maxima = []
  for num in resampling.chunks(intervals.NUM_RESAMPLES, error_GG.size):
    off_RG = rng.binomial(n_G, share_G, size=(num, len(n_G))) / n_G - share_G
    t_RGG = (off_RG[:, :, None] - off_RG[:, None]) / error_GG
    maxima.append(t_RGG.max(axis=(1, 2)))
  bound = np.quantile(np.concatenate(maxima), level)
  difference_GG = mean_G[:, None] - mean_G
  np.fill_diagonal(error_GG, 0)
  low = max(0.0, float((difference_GG - bound * error_GG).max()))
  high = min(1.0, float((difference_GG + bound * error_GG).max()))
  return result | {
    "gap": float(mean_G.max() - mean_G.min()),
    "interval": [low, high],
  }


def top(blocks: Iterable[np.ndarray], k: int) -> np.ndarray:
  """Return the rows of the k highest scores of each column: int64 [A, k].

  Best first; of equal scores the first row. All rows where there are fewer.

  Args:
    blocks: scores in blocks of rows, [n, A] each.
    k: at least 1.

  >>> top([np.array([[0.1, 0.9]]), np.array([[0.3, 0.2]])], 1).tolist()
  [[1], [0]]
  """
  score_KA, row_KA, start = None, None, 0
  for block in blocks:
    rows = np.arange(start, start + len(block))
    start += len(block)
    row_nA = np.broadcast_to(rows[:, None], block.shape)
    if score_KA is not None and row_KA is not None:
      block = np.concatenate([score_KA, block])
      row_nA = np.concatenate([row_KA, row_nA])
    order_KA = np.argsort(-block, axis=0, kind="stable")[:k]
    score_KA = np.take_along_axis(block, order_KA, axis=0)
    row_KA = np.take_along_axis(row_nA, order_KA, axis=0)
  assert row_KA is not None, "there is at least one block"
  return row_KA.T


def disparity(
  group_QK: np.ndarray, share_G: np.ndarray
) -> dict[str, np.ndarray | float]:
  """Compare the groups of each query's results with those of the gallery.

  Skew of a group is ln(its share of the k best / its share of the gallery);
  max_skew is that of the group that is most over-represented, min_share the
  least of those quotients (0 where a group is not there at all), gap the
  largest difference of a share to the gallery's, and ndkl the divergence of the
  shares of the best 1, 2, ..., k from the gallery's, discounted by position;
  see groups.ranking_shares. Even a ranking at random has a max_skew above 0: k
  results cannot have any shares.

  Source: Geyik, Ambler and Kenthapadi (KDD 2019, arXiv 1905.01989), sections
  3.2 and 3.3, with the gallery's shares as those wanted.

  Args:
    group_QK: group of each query's k best results, the best first.
    share_G: share of each group in the gallery, all above 0.

  Returns:
    shares [Q, G]; max_skew, min_share, gap and ndkl of each query, [Q].
  """
  num_results = group_QK.shape[1]
  rows = [
    groups_lib.ranking_shares(one_K[None], share_G, [num_results])
    for one_K in group_QK
  ]
  figures = {
    name: np.array([row[f"{name}@{num_results}"] for row in rows])
    for name in ("max_skew", "min_share", "gap")
  }
  shares = [(group_QK == g).mean(axis=1) for g in range(len(share_G))]
  return {
    **figures,
    "ndkl": np.array([row["ndkl"] for row in rows]),
    "shares": np.stack(shares, axis=1),
  }


def at_random(share_G: np.ndarray, k: int, num_images: int) -> float:
  """Return the mean max_skew of k images drawn at random from the gallery.

  By 2,000 draws without replacement, from a seed of the arguments.

  >>> at_random(np.array([0.5, 0.5]), 10, 10)
  0.0
  """
  count_G = np.rint(np.asarray(share_G) * num_images).astype(np.int64)
  rng = resampling.generator(count_G, np.array([k]))
  drawn_RG = rng.multivariate_hypergeometric(
    count_G, min(k, int(count_G.sum())), size=intervals.NUM_RESAMPLES
  )
  quotient_RG = drawn_RG / drawn_RG.sum(axis=1, keepdims=True) / share_G
  return float(np.log(quotient_RG.max(axis=1)).mean())


def rows(
  names: Sequence[str], figures: Mapping[str, np.ndarray | float], q: int
) -> dict[str, Any]:
  """Return the figures of query `q` as plain data, shares by group's name."""
  shares = np.asarray(figures["shares"])[q]
  plain: dict[str, Any] = {
    name: float(np.asarray(value)[q])
    for name, value in figures.items()
    if name != "shares"
  }
  assert all(map(math.isfinite, plain.values()))
  return plain | {
    "shares": {
      name: float(share) for name, share in zip(names, shares, strict=True)
    }
  }
