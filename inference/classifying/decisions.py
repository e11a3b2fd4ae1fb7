"""Decisions about pictures: labels, or none below a threshold.

Shape letters as in scores.py.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from inference.classifying import scores

# Prefix of a column with the probability of one label.
SCORE = "score_"
_LISTS = {
  "top_labels": pa.list_(pa.string()),
  "top_probabilities": pa.list_(pa.float32()),
  "top_similarities": pa.list_(pa.float32()),
}
_ONE = {
  "label": pa.string(),
  "probability": pa.float32(),
  "similarity": pa.float32(),
  "abstained": pa.bool_(),
}
_SEVERAL = {
  "labels": pa.list_(pa.string()),
  "probabilities": pa.list_(pa.float32()),
}

# Evidence [n, A] -> probability of each label by itself, float64 [n, A].
CurvesFn = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rule:
  """Rule that decides.

  Attributes:
    names: A labels.
    threshold_A: float64, lowest probability of each label that is given to a
      picture; infinite for a label that never is.
    num_results: labels that are listed, decided or not.
    scored: positions of the labels whose probability has a column.
    curves_fn: probabilities of labels by themselves (--multi_label); None where
      a picture has one label.
  """

  names: tuple[str, ...]
  threshold_A: np.ndarray
  num_results: int
  scored: tuple[int, ...] = ()
  curves_fn: CurvesFn | None = None

  def fields(self) -> dict[str, pa.DataType]:
    """Return the columns of a decision, with their types."""
    own = _ONE if self.curves_fn is None else _SEVERAL
    return {
      **own,
      **_LISTS,
      **{f"{SCORE}{self.names[a]}": pa.float32() for a in self.scored},
    }

  def rows(
    self,
    scorer: scores.Scorer,
    probabilities_fn: Callable[[np.ndarray], np.ndarray],
    zimg_NE: np.ndarray,
  ) -> Iterator[dict[str, Any]]:
    """Yield the values of `fields` of each image.

    Args:
      scorer: labels.
      probabilities_fn: probabilities of one label among all, of similarities.
      zimg_NE: embeddings of length 1.
    """
    for rows, sim_nA in scorer.similarities(zimg_NE):
      if self.curves_fn is None:
        # By similarity: probabilities close to 0 or 1 round to the same number.
        probability_nA, order_nA = probabilities_fn(sim_nA), sim_nA
      else:
        order_nA = scorer.evidence(zimg_NE[rows], sim_nA)
        probability_nA = order_nA = self.curves_fn(order_nA)
      top_nK = scores.top(order_nA, self.num_results)
      for sim_A, probability_A, top_K in zip(
        sim_nA, probability_nA, top_nK, strict=True
      ):
        yield self._row(sim_A, probability_A, top_K)

  def _row(
    self, sim_A: np.ndarray, probability_A: np.ndarray, top_K: np.ndarray
  ) -> dict[str, Any]:
    reached_A = probability_A >= self.threshold_A
    row: dict[str, Any] = {
      "top_labels": self._named(top_K),
      "top_probabilities": probability_A[top_K].tolist(),
      "top_similarities": sim_A[top_K].tolist(),
    }
    row |= {
      f"{SCORE}{self.names[a]}": float(probability_A[a]) for a in self.scored
    }
    if self.curves_fn is None:
      best = top_K[0]
      row |= {
        "label": self.names[best] if reached_A[best] else None,
        "probability": float(probability_A[best]),
        "similarity": float(sim_A[best]),
        "abstained": not reached_A[best],
      }
    else:
      labels = np.flatnonzero(reached_A)
      labels = labels[np.argsort(-probability_A[labels], kind="stable")]
      row["labels"] = self._named(labels)
      row["probabilities"] = probability_A[labels].tolist()
    return row

  def _named(self, index_K: Sequence[int] | np.ndarray) -> list[str]:
    return [self.names[a] for a in index_K]
