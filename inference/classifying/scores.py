"""Scores of labels: from similarities to evidence, to probabilities.

Shape letters: n images, A labels, B background texts, K labels listed. The
evidence of a label is the number whose logistic function is its probability
by itself:

- sigmoid loss: scale * similarity + bias, as the model was trained;
- softmax loss, with background texts: scale * similarity minus the log of the
  background's sum of exp, so that the probability is the softmax of the label
  among itself and the background;
- softmax loss alone: scale * similarity. A softmax says nothing of a label by
  itself, so that its probability is defined by a calibration only.
"""

import dataclasses
import enum
from collections.abc import Iterator

import numpy as np

# Similarities that are held at a time.
_NUM_SCORES = 2**22


class Kind(enum.StrEnum):
  """Meaning of a label's evidence."""

  SIGMOID = "sigmoid"
  BACKGROUND = "softmax against the background"
  SIMILARITY = "scaled similarity"


@dataclasses.dataclass(frozen=True)
class Scorer:
  """Labels as embeddings, and what the model says of their similarities.

  Attributes:
    zlabel_AE: float32, of length 1; may be a memory-mapped file.
    zbackground_BE: float32; no rows for none.
    scale, bias: of the model's logits.
    loss: "softmax" or "sigmoid".
  """

  zlabel_AE: np.ndarray
  zbackground_BE: np.ndarray
  scale: float
  bias: float
  loss: str

  @property
  def kind(self) -> Kind:
    """Meaning of `evidence`."""
    if self.loss == "sigmoid":
      return Kind.SIGMOID
    return Kind.BACKGROUND if len(self.zbackground_BE) else Kind.SIMILARITY

  def similarities(
    self, zimg_NE: np.ndarray
  ) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows and their cosine similarities, float32 [n, A], in blocks."""
    step = max(1, _NUM_SCORES // len(self.zlabel_AE))
    for start in range(0, len(zimg_NE), step):
      rows = slice(start, start + step)
      yield rows, zimg_NE[rows] @ self.zlabel_AE.T

  def evidence(self, zimg_nE: np.ndarray, sim_nA: np.ndarray) -> np.ndarray:
    """Return the evidence of each label by itself: float64 [n, A]."""
    logit_nA = self.scale * sim_nA.astype(np.float64)
    if self.kind == Kind.SIGMOID:
      return logit_nA + self.bias
    if self.kind == Kind.BACKGROUND:
      sim_nB = (zimg_nE @ self.zbackground_BE.T).astype(np.float64)
      return logit_nA - np.logaddexp.reduce(
        self.scale * sim_nB, axis=1, keepdims=True
      )
    return logit_nA


def logistic(evidence: np.ndarray) -> np.ndarray:
  """Return 1 / (1 + exp(-evidence)), float64.

  >>> logistic(np.array([0.0, -1000.0]))
  array([0.5, 0. ])
  """
  return np.exp(-np.logaddexp(0, -evidence))


def top(value_nA: np.ndarray, num: int) -> np.ndarray:
  """Return the labels of the highest values, best first: int [n, K].

  Of equal values the first label comes first.

  >>> top(np.array([[0.1, 0.5, 0.5, 0.2]]), 2)
  array([[1, 2]])
  """
  num = min(num, value_nA.shape[1])
  if num == value_nA.shape[1]:
    return np.argsort(-value_nA, axis=1, kind="stable")
  # The value at place `num`: labels above it are in, and the first that tie.
  cut_n1 = -np.partition(-value_nA, num - 1, axis=1)[:, num - 1 : num]
  chosen = []
  for value_A, cut_1 in zip(value_nA, cut_n1, strict=True):
    above = np.flatnonzero(value_A > cut_1)
    ties = np.flatnonzero(value_A == cut_1)[: num - len(above)]
    some = np.sort(np.concatenate([above, ties]))
    chosen.append(some[np.argsort(-value_A[some], kind="stable")])
  return np.stack(chosen)
