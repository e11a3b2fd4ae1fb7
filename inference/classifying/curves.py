"""Curves of calibration: evidence of a label to its probability."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from inference.classifying import scores


class Curve(Protocol):
  """Probability that never falls with the evidence."""

  def __call__(self, evidence: np.ndarray) -> np.ndarray:
    """Return probabilities, float64, of evidence of any shape."""
    ...


@dataclasses.dataclass(frozen=True)
class Platt:
  """Logistic function of slope * evidence + offset."""

  slope: float
  offset: float

  def __call__(self, evidence: np.ndarray) -> np.ndarray:
    return scores.logistic(self.slope * evidence + self.offset)

  @classmethod
  def of_facts(cls, facts: Mapping[str, Any]) -> Self:
    """Return the curve of values from JSON."""
    return cls(float(facts["slope"]), float(facts["offset"]))


@dataclasses.dataclass(frozen=True)
class Isotonic:
  """Straight lines between knots, constant beyond them."""

  evidence: tuple[float, ...]
  probability: tuple[float, ...]

  def __call__(self, evidence: np.ndarray) -> np.ndarray:
    return np.interp(evidence, self.evidence, self.probability)

  @classmethod
  def of_facts(cls, facts: Mapping[str, Any]) -> Self:
    """Return the curve of values from JSON."""
    return cls(tuple(facts["evidence"]), tuple(facts["probability"]))


METHODS: Mapping[str, type[Platt | Isotonic]] = {
  "platt": Platt,
  "isotonic": Isotonic,
}


def apply(curves: Sequence[Curve], evidence_nA: np.ndarray) -> np.ndarray:
  """Return the probability of each label: float64 [n, A]."""
  columns = [
    curve(evidence_n)
    for curve, evidence_n in zip(curves, evidence_nA.T, strict=True)
  ]
  return np.stack(columns, axis=1)
