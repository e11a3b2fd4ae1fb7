"""Single-label classification: top-k, means over classes, F1, confusion.

The rank of a label is its mid-rank among the classes, as that of a query in
evaluators/retrieval.py:

  rank = 1 + (classes above it) + (classes tied with it) / 2

An example is right at top-k where rank <= k. A label tied for the highest
score (rank 1.5) is thus not right at top-1, and the predicted class is then
another one of those tied: the figures of a model that answers everything alike
do not depend on the order of its classes.

F1 of a class is 2 right / (examples + predictions). Macro F1 is its mean over
the classes that have examples, as in WILDS; weighted F1 counts each class by
its examples. A class without examples has no recall, one that is never
predicted has no precision (NaN), and neither counts in a mean.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# Differences of scores below this are ties, as in evaluators/retrieval.py. It
# is meant for cosine similarities in float32.
TIE = 1e-6

# Scores that `judge` compares at a time: they stay in the cache.
_NUM_SCORES = 2**18


@dataclasses.dataclass(frozen=True)
class Answers:
  """Outcome of each example, from which all figures follow.

  Attributes:
    rank_N: float64, mid-rank of the label among the classes, 1 is best.
    predicted_N: int64, the class of the highest score; the label where, and
      only where, its rank is 1.
    label_N: int64.
    num_classes: A, those without examples included.
  """

  rank_N: np.ndarray
  predicted_N: np.ndarray
  label_N: np.ndarray
  num_classes: int

  def right(self, k: int = 1) -> np.ndarray:
    """Return whether each label is among the k best classes: bool [N]."""
    return self.rank_N <= k


def similarities(
  zimg_NE: np.ndarray, zclass_AE: np.ndarray, num_rows: int = 1024
) -> Iterator[np.ndarray]:
  """Yield cosine similarities in blocks of rows: float32 [num_rows, A]."""
  for start in range(0, len(zimg_NE), num_rows):
    zimg_nE = zimg_NE[start : start + num_rows].astype(np.float32, copy=False)
    yield zimg_nE @ zclass_AE.T


def judge(
  blocks: Iterable[np.ndarray], label_N: np.ndarray, *, tie: float = TIE
) -> Answers:
  """Rank each label, and predict each class, from blocks of scores.

  Args:
    blocks: [n, A] each, N rows in all. A NaN counts against its example.
    label_N: integers, 0 to A - 1.
    tie: largest difference of two scores that are tied.

  Raises:
    ValueError: a label is no class, or the rows are not as many as the labels.

  >>> judge([np.array([[0.1, 0.7, 0.7]])], np.array([2]))
  Answers(rank_N=array([1.5]), predicted_N=array([1]), label_N=array([2]), \
num_classes=3)
  """
  label_N = np.asarray(label_N, np.int64)
  if not label_N.size:
    raise ValueError("labels must have at least one item; got none")
  ranks, predictions, num_rows, num_classes = [], [], 0, 0
  for block in blocks:
    num_classes = num_classes or block.shape[1]
    if block.shape[1] != num_classes:
      raise ValueError(
        f"scores must have {num_classes} classes, as their first block has; "
        f"got {block.shape[1]} in a later one"
      )
    label_n = label_N[num_rows : num_rows + len(block)]
    num_rows += len(block)
    if len(label_n) < len(block):
      continue
    check_labels(label_n, num_classes)
    step = max(1, _NUM_SCORES // num_classes)
    for start in range(0, len(block), step):
      rows = slice(start, start + step)
      rank_n, predicted_n = _judge_block(block[rows], label_n[rows], tie)
      ranks.append(rank_n)
      predictions.append(predicted_n)
  if num_rows != len(label_N):
    raise ValueError(
      f"scores must have a row for each of {len(label_N)} labels; "
      f"got {num_rows}"
    )
  return Answers(
    np.concatenate(ranks), np.concatenate(predictions), label_N, num_classes
  )


def tops(num_classes: int, ks: Sequence[int] = ()) -> dict[str, int]:
  """Return k of each top-k figure of a set, by its name.

  They are top_1, top_5 (only where there are at least 5 classes) and those of
  `ks`.

  >>> tops(30, (3, 10))
  {'top_1': 1, 'top_3': 3, 'top_5': 5, 'top_10': 10}
  """
  usual = (1, 5) if num_classes >= 5 else (1,)
  return {f"top_{k}": k for k in sorted({*usual, *ks})}


def figures(answers: Answers, ks: Sequence[int] = ()) -> dict[str, float | int]:
  """Return the counts and the figures of a set.

  They are num_classes, num_examples, those of `tops`, mean_per_class (recall,
  averaged over the classes that have examples), macro_f1 and weighted_f1.

  >>> label, score = np.array([0, 0, 0, 2]), np.eye(3)[[0, 0, 1, 2]]
  >>> figures(judge([score], label))["top_1"]
  0.75
  """
  num_classes = answers.num_classes
  table = per_class(answers.label_N, answers.predicted_N, num_classes)
  return {
    "num_classes": num_classes,
    "num_examples": len(answers.label_N),
    **{
      name: float(answers.right(k).mean())
      for name, k in tops(num_classes, ks).items()
    },
    "mean_per_class": float(np.nanmean(table["recall"])),
    "macro_f1": float(macro_f1(table["n"], table["predicted"], table["right"])),
    "weighted_f1": float(
      weighted_f1(table["n"], table["predicted"], table["right"])
    ),
  }


def per_class(
  label_N: np.ndarray, predicted_N: np.ndarray, num_classes: int
) -> dict[str, np.ndarray]:
  """Return n, predicted, right (counts), recall, precision and f1: [A] each.

  A ratio without a denominator is NaN.

  >>> table = per_class(np.array([0, 0, 2]), np.array([0, 1, 2]), 3)
  >>> table["recall"], table["precision"]
  (array([0.5, nan, 1. ]), array([1., 0., 1.]))
  """
  check_labels(label_N, num_classes)
  n_A = np.bincount(label_N, minlength=num_classes)
  predicted_A = np.bincount(predicted_N, minlength=num_classes)
  right_A = np.bincount(label_N[label_N == predicted_N], minlength=num_classes)
  return {
    "n": n_A,
    "predicted": predicted_A,
    "right": right_A,
    "recall": _ratio(right_A, n_A),
    "precision": _ratio(right_A, predicted_A),
    "f1": _ratio(2 * right_A, n_A + predicted_A),
  }


def macro_f1(
  n_A: np.ndarray, predicted_A: np.ndarray, right_A: np.ndarray
) -> np.ndarray:
  """Average F1 over the classes that have examples: [...] from [..., A].

  It equals scikit-learn's f1_score(average="macro") with the labels of y_true.

  >>> macro_f1(np.array([2, 0]), np.array([1, 1]), np.array([1, 0]))
  array(0.66666667)
  """
  f1_A = _ratio(2 * right_A, n_A + predicted_A)
  has_A = n_A > 0
  return np.asarray(
    np.where(has_A, f1_A, 0.0).sum(axis=-1) / has_A.sum(axis=-1)
  )


def weighted_f1(
  n_A: np.ndarray, predicted_A: np.ndarray, right_A: np.ndarray
) -> np.ndarray:
  """Average F1 over examples, each with its class's: [...] from [..., A]."""
  f1_A = np.where(n_A > 0, _ratio(2 * right_A, n_A + predicted_A), 0.0)
  return np.asarray((f1_A * n_A).sum(axis=-1) / n_A.sum(axis=-1))


def confusion(
  label_N: np.ndarray, predicted_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Count the pairs that occur: label, predicted class and count, [P] each.

  They are in the order of the label, then of the predicted class.

  >>> confusion(np.array([1, 0, 1]), np.array([0, 0, 0]))
  (array([0, 1]), array([0, 0]), array([1, 2]))
  """
  base = 1 + max(label_N.max(), predicted_N.max())
  pair_P, count_P = np.unique(
    np.asarray(label_N, np.int64) * base + predicted_N, return_counts=True
  )
  return pair_P // base, pair_P % base, count_P


def most_confused(
  label_N: np.ndarray, predicted_N: np.ndarray, num_pairs: int = 20
) -> list[dict[str, float | int]]:
  """List the most frequent errors: label, predicted, count, share of label.

  Equal counts are in the order of the label, then of the predicted class.

  >>> most_confused(np.array([1, 0, 1, 1]), np.array([0, 0, 0, 1]))
  [{'label': 1, 'predicted': 0, 'count': 2, 'share': 0.6666666666666666}]
  """
  label_P, predicted_P, count_P = confusion(label_N, predicted_N)
  n_A = np.bincount(label_N)
  wrong = np.flatnonzero(label_P != predicted_P)
  order = wrong[np.argsort(-count_P[wrong], kind="stable")][:num_pairs]
  return [
    {
      "label": int(label_P[p]),
      "predicted": int(predicted_P[p]),
      "count": int(count_P[p]),
      "share": float(count_P[p] / n_A[label_P[p]]),
    }
    for p in order
  ]


def chance(
  label_N: np.ndarray, num_classes: int, ks: Sequence[int] = ()
) -> dict[str, float]:
  """Return the expected figures of answers that do not look at the images.

  Figures of the names of `figures` are of a class drawn evenly; F1 is that of
  the expected counts. "majority" is top-1 of the most frequent class, and
  "proportional" top-1 of a class drawn as often as it occurs, the "random
  score" of DataComp's list of tasks.

  >>> chance(np.array([0, 0, 0, 1]), 2)["proportional"]
  0.625
  """
  share_A = np.bincount(label_N, minlength=num_classes) / len(label_N)
  counts = share_A, np.full(num_classes, 1 / num_classes), share_A / num_classes
  return {
    **{name: k / num_classes for name, k in tops(num_classes, ks).items()},
    "mean_per_class": 1 / num_classes,
    "macro_f1": float(macro_f1(*counts)),
    "weighted_f1": float(weighted_f1(*counts)),
    "majority": float(share_A.max()),
    "proportional": float((share_A**2).sum()),
  }


def check_labels(label_N: np.ndarray, num_classes: int) -> None:
  """Raise ValueError for a label that is not the index of a class."""
  wrong = np.flatnonzero((label_N < 0) | (label_N >= num_classes))
  if wrong.size:
    raise ValueError(
      f"labels must be 0 to {num_classes - 1}, the index of a class; got "
      f"{label_N[wrong[0]]} ({wrong.size} of {len(label_N)} labels are none)"
    )


def _judge_block(
  score_nA: np.ndarray, label_n: np.ndarray, tie: float
) -> tuple[np.ndarray, np.ndarray]:
  row_n = np.arange(len(label_n))
  gap_nA = score_nA - score_nA[row_n, label_n][:, None]
  # The label is not among its rivals, even where its score is NaN.
  gap_nA[row_n, label_n] = -np.inf
  # "not <=" and "not <": a NaN then counts as a rival above the label.
  above_n = np.count_nonzero(~(gap_nA <= tie), axis=1)
  not_below_n = np.count_nonzero(~(gap_nA < -tie), axis=1)
  rank_n = 1 + (above_n + not_below_n) / 2
  rival_n = np.argmax(gap_nA, axis=1)
  return rank_n, np.where(rank_n == 1, label_n, rival_n)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
  missing = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
  return np.divide(top, bottom, out=missing, where=bottom > 0)
