"""Paired tests of a study's comparisons, corrected for their number."""

import dataclasses
from collections.abc import Sequence

from experiments.studies import claims, outcomes
from training.comparison import paired_seeds

# Level below which a corrected p is named in summaries.
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Test:
  """One comparison on one figure.

  Attributes:
    comparison: the two arms.
    figure: the figure; with a base, that of b.
    difference: mean of b - a over seeds.
    interval: its 95 % interval, of Student's t.
    p: two-sided p-value; None where the differences of all seeds are equal.
    holm: p after Holm's correction for all tests of the study; None as p.
  """

  comparison: claims.Comparison
  figure: claims.Figure
  difference: float
  interval: tuple[float, float]
  p: float | None
  holm: float | None

  @property
  def arms(self) -> str:
    """Arms of the difference as text; one name where they are the same."""
    a, b = self.comparison.a, self.comparison.b
    return a if a == b else f"{b} - {a}"

  @property
  def figures(self) -> str:
    """Figures of the difference as text; one label where they are the same."""
    base = self.comparison.base
    return f"{self.figure.label} - {base}" if base else self.figure.label


def tests(study: claims.Study, outcome: outcomes.Outcome) -> list[Test]:
  """Return the tests of all comparisons, each on each of its figures."""
  rows = []
  for comparison in study.comparisons:
    for figure in study.compared(comparison):
      a, b = (
        outcomes.values(outcome, study.arm(name), one)
        for name, one in (
          (comparison.a, study.subtracted(comparison, figure)),
          (comparison.b, figure),
        )
      )
      found = paired_seeds.compare(a, b)
      assert found is not None  # a study has at least two seeds
      rows.append((comparison, figure, found))
  corrected = holm([found["p"] for _, _, found in rows])
  return [
    Test(
      comparison,
      figure,
      found["difference"],
      tuple(found["interval"]),
      found["p"],
      p,
    )
    for (comparison, figure, found), p in zip(rows, corrected, strict=True)
  ]


def holm(values: Sequence[float | None]) -> list[float | None]:
  """Return p-values after Holm's step-down correction for their number.

  Source: Holm (1979), "A simple sequentially rejective multiple test
  procedure". A None is a test that has no p; it counts in the number.

  >>> holm([0.01, 0.04, 0.03])
  [0.03, 0.06, 0.06]
  """
  ranked = sorted((p, i) for i, p in enumerate(values) if p is not None)
  corrected: list[float | None] = [None] * len(values)
  largest = 0.0
  for rank, (p, i) in enumerate(ranked):
    largest = max(largest, min(1.0, (len(values) - rank) * p))
    corrected[i] = largest
  return corrected
