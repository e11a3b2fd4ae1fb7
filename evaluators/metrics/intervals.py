"""Intervals of figures, as [low, high], 95 % unless stated.

A share of independent examples has Wilson's interval. Everything else but a
median has a percentile bootstrap, expanded for few samples (Hesterberg, arXiv
1411.5279). Its resamples are drawn as counts of what occurs, a multinomial over
the distinct values of a cluster: the same distribution as that of clusters
drawn one by one, at no more cost for a larger set.

The random stream is seeded by the digest of those counts. An interval is thus
a function of the data alone, in any order, for one version of NumPy.

Share of 5,000 simulated sets (stratified below 500: 600) whose interval holds
the truth, in percent, the least and the most over true shares of 0.1, 0.5 and
0.9 (tests/evaluators/metrics/test_coverage.py, which asserts 93 to 97 for 500):

    n     wilson   cluster per_class    paired    median    figure  macro_f1
   20  95.3-96.1 89.6-96.0 98.7-99.3 99.7-99.9 95.9-96.1 90.2-95.4 84.2-93.7
   50  93.3-97.4 92.1-96.1 95.5-98.3 96.7-98.8 95.5-95.9 92.9-95.2 90.8-94.9
  100  93.6-94.9 93.6-95.1 96.5-97.7 95.6-96.8 95.7-96.1 93.8-94.9 92.1-95.0
  500  94.4-95.9 94.3-95.3 94.3-95.6 94.9-95.1 94.8-95.4 95.0-95.2 94.5-94.9

Below 100, intervals hold less often than stated for figures that are near 0 or
1, those of macro F1 most of all; those of mean per class and of a difference
are too wide instead.
"""

import math
from collections.abc import Sequence

import numpy as np

from evaluators.metrics import classification, multilabel, resampling

LEVEL = 0.95
NUM_RESAMPLES = 2000


def of_answers(
  answers: classification.Answers,
  ks: Sequence[int] = (),
  *,
  level: float = LEVEL,
) -> dict[str, list[float]]:
  """Return the interval of each of classification.figures, by its name.

  Shares have Wilson's, mean_per_class a bootstrap in each class, and F1 one
  over examples.

  >>> answers = classification.judge([np.eye(2)], np.arange(2))
  >>> sorted(of_answers(answers))
  ['macro_f1', 'mean_per_class', 'top_1', 'weighted_f1']
  """
  label_N, right_N = answers.label_N, answers.right()
  bounds = {
    name: wilson(answers.right(k).sum(), len(label_N), level)
    for name, k in classification.tops(answers.num_classes, ks).items()
  }
  bounds["mean_per_class"] = stratified(right_N, label_N, level=level)
  bounds |= f1(label_N, answers.predicted_N, answers.num_classes, level=level)
  return {name: bound.tolist() for name, bound in bounds.items()}


def of_ranks(
  rank_Q: np.ndarray,
  cluster_Q: np.ndarray | None = None,
  *,
  ks: Sequence[int] = (1, 5, 10),
  level: float = LEVEL,
) -> dict[str, list[float]]:
  """Return the intervals of figures of retrieval, by their name.

  They are R@k (hit@k), median_rank, mean_rank and MRR.

  Args:
    rank_Q: rank of each query's best right candidate.
    cluster_Q: image of each query, for texts as queries; each query is one by
      itself if absent, as for images.
    ks: of the hits.

  >>> of_ranks(np.array([1, 1, 3, 1]), ks=[1])["R@1"]
  [0.0, 1.0]
  """
  rank_Q = np.asarray(rank_Q, np.float64)
  hit_QF = rank_Q[:, None] <= np.asarray(ks)
  bounds_F2 = clustered(hit_QF, cluster_Q, level=level)
  means_F2 = clustered(
    np.stack([rank_Q, 1 / rank_Q], axis=1),
    cluster_Q,
    is_share=(False, True),
    level=level,
  )
  bounds = {f"R@{k}": row for k, row in zip(ks, bounds_F2, strict=True)} | {
    "median_rank": clustered_median(rank_Q, cluster_Q, level=level),
    "mean_rank": means_F2[0],
    "MRR": means_F2[1],
  }
  return {name: bound.tolist() for name, bound in bounds.items()}


def wilson(
  right: np.ndarray | int, n: np.ndarray | int, level: float = LEVEL
) -> np.ndarray:
  """Return Wilson's score interval of `right` of `n`: [..., 2] for [...].

  It is [0, 1] for n = 0.

  Source: Wilson (1927), JASA 22, 209-212.

  >>> wilson(8, 10).round(4)
  array([0.4902, 0.9433])
  """
  right, n = np.broadcast_arrays(np.asarray(right, float), np.asarray(n, float))
  z, count = resampling.normal_quantile(level), np.maximum(n, 1)
  share = right / count
  center = share + z**2 / (2 * count)
  half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
  bounds = np.stack([center - half, center + half], axis=-1)
  bounds /= 1 + (z**2 / count)[..., None]
  return np.where((n > 0)[..., None], np.clip(bounds, 0, 1), [0.0, 1.0])


def clustered(
  value_Q: np.ndarray,
  cluster_Q: np.ndarray | None = None,
  *,
  is_share: bool | Sequence[bool] = True,
  level: float = LEVEL,
  num_resamples: int = NUM_RESAMPLES,
) -> np.ndarray:
  """Bootstrap means over queries, resampling clusters of queries.

  For retrieval, a cluster is an image with all its captions; the gallery stays
  as it is. Where all values are 0, or all are 1, no resample differs, and the
  interval of a share is Wilson's with a cluster as one example. One cluster
  says nothing about others: its interval is all that a share can be, or from
  the least to the most of other values.

  Args:
    value_Q: figures of each query, [Q], or [Q, F] for several at once: hits at
      k as 0 or 1, reciprocal ranks, Jaccard indices, differences.
    cluster_Q: integers that name the cluster of each query; each query is one
      by itself if absent.
    is_share: whether 0 and 1 are the least and the most that a value can be,
      as they are not for ranks and differences; one for all, or for each.

  Returns:
    [2], or [F, 2].

  >>> clustered(np.array([1, 1, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2, 2]))
  array([0., 1.])
  """
  if not len(value_Q):
    raise ValueError("values must have at least one item; got none")
  value_QF = np.asarray(value_Q, np.float64).reshape(len(value_Q), -1)
  is_share_F = np.broadcast_to(is_share, value_QF.shape[1])
  sum_CF, size_C = _cluster_sums(value_QF, cluster_Q)
  type_UT, count_U = np.unique(
    np.column_stack([size_C, sum_CF]), axis=0, return_counts=True
  )
  totals = [
    weight_RU @ type_UT
    for weight_RU in resampling.type_counts(count_U, type_UT, num_resamples)
  ]
  total_RT = np.concatenate(totals)
  num_clusters = len(size_C)
  bounds = resampling.percentiles(
    total_RT[:, 1:] / total_RT[:, :1], num_clusters - 1, level
  )
  for f, value_f in enumerate(value_QF.T):
    low, high = value_f.min(), value_f.max()
    if is_share_F[f] and low == high and low in (0, 1):
      bounds[f] = wilson(low * num_clusters, num_clusters, level)
    elif num_clusters == 1:
      bounds[f] = (0, 1) if is_share_F[f] else (low, high)
  return bounds[0] if np.ndim(value_Q) == 1 else bounds


def clustered_median(
  value_Q: np.ndarray,
  cluster_Q: np.ndarray | None = None,
  *,
  level: float = LEVEL,
) -> np.ndarray:
  """Bound a median over queries that come in clusters: [2].

  The bounds are two quantiles of the values: those whose shares lie half an
  interval below and above 1/2, by the standard error of the share of queries
  at or below the median (Woodruff, 1952, JASA 47, 635-646).

  >>> clustered_median(np.arange(1, 101))
  array([40., 61.])
  """
  value_Q = np.asarray(value_Q, np.float64)
  below_Q = (value_Q <= np.median(value_Q)) - 0.5
  sum_CF, size_C = _cluster_sums(below_Q[:, None], cluster_Q)
  num_clusters = len(size_C)
  if num_clusters < 2:
    return np.array([value_Q.min(), value_Q.max()])
  excess_C = sum_CF[:, 0] - size_C * below_Q.mean()
  error = math.sqrt(
    num_clusters / (num_clusters - 1) * (excess_C**2).sum()
  ) / len(value_Q)
  # All values at or below the median say nothing about the share's error.
  error = error or 0.5 / math.sqrt(num_clusters)
  half = resampling.student_quantile(level, num_clusters - 1) * error
  ordered, last = np.sort(value_Q), len(value_Q) - 1
  low = max(math.floor((0.5 - half) * len(value_Q) + 0.5) - 1, 0)
  return ordered[[low, last - low]]


def stratified(
  value_N: np.ndarray,
  stratum_N: np.ndarray,
  *,
  is_share: bool = True,
  level: float = LEVEL,
  num_resamples: int = NUM_RESAMPLES,
) -> np.ndarray:
  """Bootstrap the mean over strata of their means, each resampled by itself.

  With right answers and their labels, this is the interval of
  "mean_per_class". A stratum is resampled from its own values and one more, an
  average one of all strata: few examples that are all alike do not stand for
  certainty. Deviations of n examples are scaled by the root of
  1 / (1 - n / (n + 1)^2), so that their variance is right on average where
  strata are alike; it is too large where they are few and differ much.

  Args:
    value_N: of few distinct values, such as 0 and 1, or -1, 0 and 1.
    stratum_N: integers.
    is_share: as in `clustered`.

  >>> stratified(np.array([1, 0] * 50), np.repeat([0, 1], 50)).round(2)
  array([0.4, 0.6])
  """
  _, index_N, n_S = np.unique(
    stratum_N, return_inverse=True, return_counts=True
  )
  value_V, which_N = np.unique(
    np.asarray(value_N, np.float64), return_inverse=True
  )
  if is_share and len(value_V) == 1 and value_V[0] in (0, 1):
    return wilson(value_V[0] * len(value_N), len(value_N), level)
  count_SV = np.bincount(
    index_N * len(value_V) + which_N, minlength=len(n_S) * len(value_V)
  ).reshape(-1, len(value_V))
  whole = float((count_SV @ value_V / n_S).mean())
  share_SV = (count_SV + count_SV.sum(axis=0) / len(value_N)) / (n_S + 1)[
    :, None
  ]
  mean_S = share_SV @ value_V
  scale_S = 1 / np.sqrt(1 - n_S / (n_S + 1.0) ** 2)
  gap_SV = value_V - mean_S[:, None]
  square_S = scale_S**2 * (share_SV * gap_SV**2).sum(axis=1) / n_S
  cube_S = scale_S**3 * (share_SV * gap_SV**3).sum(axis=1) / n_S**2
  variance = square_S.sum()
  skewness = cube_S.sum() / variance**1.5 if variance else 0.0
  rng = resampling.generator(value_V, count_SV)
  means = []
  for num in resampling.chunks(num_resamples, count_SV.size):
    total_RS = np.zeros((num, len(n_S)))
    left_RS, left_S = np.tile(n_S, (num, 1)), np.ones(len(n_S))
    # A multinomial, one value after the other, for all strata at once.
    for value, share_S in zip(value_V, share_SV.T, strict=True):
      chance_S = np.clip(share_S / np.maximum(left_S, share_S), 0, 1)
      drawn_RS = rng.binomial(left_RS, chance_S)
      total_RS += value * drawn_RS
      left_RS -= drawn_RS
      left_S -= share_S
    means.append((scale_S * (total_RS / n_S - mean_S)).mean(axis=1))
  bounds = whole + resampling.accelerated_percentiles(
    np.concatenate(means), skewness, len(value_N) - 1, level
  )
  return np.clip(bounds, value_V[0], value_V[-1])


def f1(
  label_N: np.ndarray,
  predicted_N: np.ndarray,
  num_classes: int,
  *,
  level: float = LEVEL,
  num_resamples: int = NUM_RESAMPLES,
) -> dict[str, np.ndarray]:
  """Bootstrap macro_f1 and weighted_f1 over examples: {name: [2]}.

  A resample has its own counts of each class; a class without examples in it
  is left out of its macro F1. With few examples a class, F1 of resamples lies
  below that of the set, and so does the interval: its bounds are those of the
  resamples moved by the difference of their mean to the figure.
  """
  label_P, predicted_P, count_P = classification.confusion(label_N, predicted_N)
  by_class = np.argsort(predicted_P, kind="stable")
  pairs = np.stack([label_P, predicted_P], axis=1)
  replicas: dict[str, list[np.ndarray]] = {"macro_f1": [], "weighted_f1": []}
  whole = {}
  for weight_RP in (
    count_P[None],
    *resampling.type_counts(count_P, pairs, num_resamples, num_classes),
  ):
    counts = (
      _sums(weight_RP, label_P, num_classes),
      _sums(weight_RP[:, by_class], predicted_P[by_class], num_classes),
      _sums(weight_RP * (label_P == predicted_P), label_P, num_classes),
    )
    for name, figure_fn in (
      ("macro_f1", classification.macro_f1),
      ("weighted_f1", classification.weighted_f1),
    ):
      if name in whole:
        replicas[name].append(figure_fn(*counts))
      else:
        whole[name] = figure_fn(*counts)[0]
  return {
    name: resampling.moved_percentiles(
      np.concatenate(parts), whole[name], len(label_N) - 1, level
    )
    for name, parts in replicas.items()
  }


def mean_ap(
  score_NA: np.ndarray,
  right_NA: np.ndarray,
  counted_NA: np.ndarray | None = None,
  *,
  level: float = LEVEL,
  num_resamples: int = 1000,
) -> np.ndarray:
  """Bootstrap mean average precision over images: [2].

  Arguments are those of multilabel.figures. A class without a right image in a
  resample is left out of its mean, and so is a resample without any; the bounds
  are moved as those of `f1`.
  """
  right_NA = np.asarray(right_NA, bool)
  num = len(right_NA)
  by_value = np.lexsort(np.column_stack([right_NA, score_NA]).T)
  score_NA, right_NA = score_NA[by_value], right_NA[by_value]
  counted_NA = None if counted_NA is None else counted_NA[by_value]
  ap_A = multilabel.average_precisions(score_NA, right_NA, counted_NA)
  sorted_A = []
  for a in range(right_NA.shape[1]):
    rows = (
      np.arange(num) if counted_NA is None else counted_NA[:, a].nonzero()[0]
    )
    order, ends = multilabel.ordered(score_NA[rows, a])
    right_n = right_NA[rows, a][order]
    gain_T = np.diff(np.cumsum(right_n)[ends], prepend=0)
    if right_n.any():
      sorted_A.append((rows[order], right_n, ends[gain_T > 0]))
  means = []
  for weight_RN in resampling.type_counts(
    np.ones(num, np.int64), score_NA, num_resamples
  ):
    ap_RA = np.stack(
      [_weighted_ap(weight_RN, *ordering) for ordering in sorted_A], axis=1
    )
    has_R = ~np.isnan(ap_RA).all(axis=1)
    means.append(np.nanmean(ap_RA[has_R], axis=1))
  mean_R, whole = np.concatenate(means), float(np.nanmean(ap_A))
  return resampling.moved_percentiles(mean_R, whole, num - 1, level)


def _cluster_sums(
  value_QF: np.ndarray, cluster_Q: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
  """Return sums of values [C, F] and numbers of queries [C] of clusters."""
  if cluster_Q is None:
    return value_QF, np.ones(len(value_QF), np.int64)
  if len(cluster_Q) != len(value_QF):
    raise ValueError(
      f"clusters must be as many as the {len(value_QF)} queries; "
      f"got {len(cluster_Q)}"
    )
  _, index_Q, size_C = np.unique(
    cluster_Q, return_inverse=True, return_counts=True
  )
  first_C = np.cumsum(size_C) - size_C
  # In the order of their values: a sum does not depend on that of the queries.
  sums = [
    np.add.reduceat(value_f[np.lexsort((value_f, index_Q))], first_C)
    for value_f in value_QF.T
  ]
  return np.stack(sums, axis=1), size_C


def _weighted_ap(
  weight_RN: np.ndarray,
  order: np.ndarray,
  right_n: np.ndarray,
  ends: np.ndarray,
) -> np.ndarray:
  """Return average precision with weights of images: [R].

  `ends` are the thresholds in `order` that add right images.
  """
  starts = np.concatenate([[0], ends[:-1] + 1])
  sorted_Rn = weight_RN[:, order[: ends[-1] + 1]]
  count_RT = np.cumsum(np.add.reduceat(sorted_Rn, starts, axis=1), axis=1)
  sorted_Rn *= right_n[: ends[-1] + 1]
  gain_RT = np.add.reduceat(sorted_Rn, starts, axis=1)
  right_RT = np.cumsum(gain_RT, axis=1)
  total_R = right_RT[:, -1]
  precision_RT = right_RT / np.maximum(count_RT, 1)
  return np.divide(
    (gain_RT * precision_RT).sum(axis=1),
    total_R,
    out=np.full(len(weight_RN), np.nan),
    where=total_R > 0,
  )


def _sums(
  weight_RP: np.ndarray, class_P: np.ndarray, num_classes: int
) -> np.ndarray:
  """Add the columns of each class; classes are in ascending order: [R, A]."""
  first = np.flatnonzero(np.diff(class_P, prepend=-1))
  sum_RA = np.zeros((len(weight_RP), num_classes))
  sum_RA[:, class_P[first]] = np.add.reduceat(weight_RP, first, axis=1)
  return sum_RA
