"""Images with several labels, and the best of a set of candidates.

Average precision of a class is the sum over thresholds of precision times the
gain in recall, where equal scores pass a threshold together, as in
scikit-learn: the order of tied images does not matter. The 11-point form is
that of VOC2007: the mean over recalls of 0, 0.1, ..., 1 of the highest
precision at that recall or above. mAP is the mean over the classes that have a
right image; CLIP_benchmark counts the others as 0.
"""

import math
from collections.abc import Sequence

import numpy as np


def figures(
  score_NA: np.ndarray,
  right_NA: np.ndarray,
  counted_NA: np.ndarray | None = None,
) -> dict[str, float | int]:
  """Return mAP, 11-point mAP and what they are taken on.

  Args:
    score_NA: higher is likelier; a NaN comes last.
    right_NA: bool, whether the image has the label.
    counted_NA: bool, False where an image does not count for a class, as
      "difficult" objects of VOC; all count if absent.

  Returns:
    num_classes, num_examples, num_classes_scored (those with a right image),
    mean_ap, mean_ap_11_point, and chance: the mean share of right images, the
    expected mean_ap of a random order of many images.

  Raises:
    ValueError: the shapes differ, or no class has a right image.
  """
  ap_A = average_precisions(score_NA, right_NA, counted_NA)
  points_A = average_precisions(
    score_NA, right_NA, counted_NA, is_11_point=True
  )
  scored_A = ~np.isnan(ap_A)
  if not scored_A.any():
    raise ValueError("labels must have at least one right image; got none")
  right_NA = np.asarray(right_NA, bool)
  if counted_NA is None:
    counted_NA = np.ones_like(right_NA)
  num_right_A = (right_NA & counted_NA).sum(axis=0)
  share_A = num_right_A[scored_A] / counted_NA.sum(axis=0)[scored_A]
  return {
    "num_classes": len(ap_A),
    "num_examples": len(score_NA),
    "num_classes_scored": int(scored_A.sum()),
    "mean_ap": float(ap_A[scored_A].mean()),
    "mean_ap_11_point": float(points_A[scored_A].mean()),
    "chance": float(share_A.mean()),
  }


def average_precisions(
  score_NA: np.ndarray,
  right_NA: np.ndarray,
  counted_NA: np.ndarray | None = None,
  *,
  is_11_point: bool = False,
) -> np.ndarray:
  """Return average precision of each class: [A], NaN without a right image.

  Arguments are as in `figures`.

  >>> score = np.array([[0.9], [0.8], [0.8], [0.1]])
  >>> average_precisions(score, np.array([[1], [1], [0], [0]]))
  array([0.83333333])
  """
  if np.shape(score_NA) != np.shape(right_NA):
    raise ValueError(
      f"labels must have the shape of the scores, {np.shape(score_NA)}; "
      f"got {np.shape(right_NA)}"
    )
  right_NA = np.asarray(right_NA, bool)
  ap_fn = _ap_11_point if is_11_point else _ap
  ap_A = np.full(right_NA.shape[1], np.nan)
  for a in range(len(ap_A)):
    rows = slice(None) if counted_NA is None else counted_NA[:, a]
    right_N = right_NA[rows, a]
    if right_N.any():
      order, ends = ordered(score_NA[rows, a])
      right_T = np.cumsum(right_N[order])[ends]
      ap_A[a] = ap_fn(right_T, ends + 1)
  return ap_A


def ordered(score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return rows from the best to the worst, and where equal scores end.

  >>> ordered(np.array([0.1, 0.8, 0.8]))
  (array([1, 2, 0]), array([1, 2]))
  """
  order = np.argsort(-score_N, kind="stable")
  sorted_N = score_N[order]
  return order, np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))


def jaccard(score_K: np.ndarray, right_K: np.ndarray) -> float:
  """Compare the n best of K candidates with the n right ones.

  The figure is the size of their intersection over that of their union.
  Candidates that are tied across the border of the n best are not among them,
  as no order of theirs is better than another.

  Raises:
    ValueError: no candidate is right.

  >>> jaccard(np.array([0.9, 0.1, 0.8, 0.2]), np.array([1, 0, 0, 1]))
  0.3333333333333333
  """
  right_K = np.asarray(right_K, bool)
  num_right = int(right_K.sum())
  if not num_right:
    raise ValueError("candidates must have at least one right one; got none")
  order, ends = ordered(np.asarray(score_K))
  # The last whole group of equal scores within the n best.
  fitting = ends[ends < num_right]
  chosen = order[: fitting[-1] + 1] if fitting.size else order[:0]
  hits = int(right_K[chosen].sum())
  return hits / (len(chosen) + num_right - hits)


def jaccards(
  scores: Sequence[np.ndarray], rights: Sequence[np.ndarray]
) -> tuple[np.ndarray, dict[str, float | int]]:
  """Score items with candidates of their own, as those of WinoGAViL.

  Returns:
    `jaccard` of each item [N]; and num_items, the means jaccard (all items),
    jaccard_5-6 and jaccard_10-12 (at most 6 candidates, at least 10; where
    there are any), and num_items_10-12. DataComp reports jaccard_10-12.
  """
  value_N = np.array(
    [jaccard(*item) for item in zip(scores, rights, strict=True)]
  )
  size_N = np.array([len(score) for score in scores])
  named = {
    "jaccard": size_N > 0,
    "jaccard_5-6": size_N <= 6,
    "jaccard_10-12": size_N >= 10,
  }
  return value_N, {
    "num_items": len(value_N),
    "num_items_10-12": int((size_N >= 10).sum()),
    **{
      name: float(value_N[rows].mean())
      for name, rows in named.items()
      if rows.any()
    },
  }


def jaccard_chance(num_candidates: int, num_right: int) -> float:
  """Return the expected `jaccard` of candidates in a random order.

  >>> jaccard_chance(4, 1)
  0.25
  """
  # Exact in a hypergeometric distribution: ways to choose `hits` right ones.
  ways = [
    math.comb(num_right, hits)
    * math.comb(num_candidates - num_right, num_right - hits)
    for hits in range(num_right + 1)
  ]
  expected = sum(
    way * hits / (2 * num_right - hits) for hits, way in enumerate(ways)
  )
  return expected / sum(ways)


def _ap(right_T: np.ndarray, count_T: np.ndarray) -> float:
  """Return average precision from right and all images above thresholds."""
  gain_T = np.diff(right_T, prepend=0)
  return float((gain_T * (right_T / count_T)).sum() / right_T[-1])


def _ap_11_point(right_T: np.ndarray, count_T: np.ndarray) -> float:
  best_T = np.maximum.accumulate((right_T / count_T)[::-1])[::-1]
  # Whole numbers: a recall of exactly 0.3 counts at 0.3.
  first = np.searchsorted(10 * right_T, np.arange(11) * right_T[-1])
  return float(best_T[first].mean())
