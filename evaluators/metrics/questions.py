"""Answers to questions, by type: accuracy, multiple choice, soft accuracy.

The value of a question is 1 where its answer is the annotated one, the choice
the right one, and for VQA v2 min(humans who gave this answer / 3, 1) (Goyal et
al., arXiv 1612.00837). VQA's server averages that over the ten sets of nine
humans, which gives 0.3, 0.6 and 0.9 where this gives 1/3, 2/3 and 1 (of one,
two and three humans): its figures are lower.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals

KIND = "questions"
FIGURES = ("accuracy", "soft_accuracy")
_OVERALL = "overall"


def soft_accuracy(answer: str, humans: Sequence[str]) -> float:
  """Return min(humans who gave this answer / 3, 1).

  >>> soft_accuracy("red", ["red", "red", "blue"])
  0.6666666666666666
  """
  return min(sum(answer == x for x in humans) / 3, 1.0)


def record(
  value_N: np.ndarray,
  type_N: Sequence[str],
  expected_N: np.ndarray,
  *,
  figure: str = "accuracy",
  cluster_N: np.ndarray | None = None,
) -> dict[str, Any]:
  """Return the means of all questions and of each type, for results.json.

  Intervals are Wilson's for accuracy without clusters, else bootstraps.

  Args:
    value_N: value of each question, of 0 to 1.
    type_N: name of each question's type; "" has no figure of its own.
    expected_N: value that chance has: whether the most frequent answer of its
      type in training is right, or 1 / choices.
    figure: one of FIGURES, the name of the mean.
    cluster_N: image or video of each question; those of one go together in a
      resample. None: all are of different ones.

  Raises:
    ValueError: there is no question, or the lengths differ.

  >>> made = record(np.ones(3), ["what", "who", "what"], np.array([1, 0, 0]))
  >>> made["accuracy"], made["chance"]["what"]
  ({'overall': 1.0, 'what': 1.0, 'who': 1.0}, 0.5)
  """
  value_N, expected_N = np.asarray(value_N, float), np.asarray(expected_N)
  types = np.asarray(type_N, dtype=str)
  sizes = {len(value_N), len(types), len(expected_N)}
  if cluster_N is not None:
    sizes.add(len(cluster_N))
  if len(sizes) > 1 or not len(value_N):
    raise ValueError(
      "questions must have a value, a type, an expected value and a cluster"
      f" each, and be at least one; got {sorted(sizes)} of them"
    )
  rows = {_OVERALL: np.ones(len(types), bool)}
  rows |= {name: types == name for name in np.unique(types).tolist() if name}
  is_binary = figure == FIGURES[0]
  bounds = {
    name: _interval(
      value_N[is_row],
      None if cluster_N is None else np.asarray(cluster_N)[is_row],
      is_binary,
    )
    for name, is_row in rows.items()
  }
  return {
    "kind": KIND,
    "figure": figure,
    figure: {name: float(value_N[x].mean()) for name, x in rows.items()},
    "num_questions": {name: int(x.sum()) for name, x in rows.items()},
    "chance": {name: float(expected_N[x].mean()) for name, x in rows.items()},
    "intervals": bounds,
  }


def _interval(
  value_N: np.ndarray, cluster_N: np.ndarray | None, is_binary: bool
) -> list[float]:
  if is_binary and cluster_N is None:
    return intervals.wilson(int(value_N.sum()), len(value_N)).tolist()
  return intervals.clustered(value_N, cluster_N).tolist()
