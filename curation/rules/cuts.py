"""Cuts: pairs whose score is above a value, or among the highest.

A score is a signal of an earlier step, or a column of the pool's files, such as
DataComp's clip_l14_similarity_score. A pair without a score (null, NaN) is
dropped.

DataComp's thresholds for a share of its pool (arXiv 2304.14108, table 16), and
its CLIP-score baselines (baselines/apply_filter.py): docs/curation.md.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators
from curation.on_disk import quantiles

NUM_BINS = 64
_FLOAT32 = np.dtype(np.float32)


@dataclasses.dataclass(frozen=True)
class Threshold(operators.Filter):
  """Keep pairs whose score is at least a value.

  Attributes:
    column: the score.
    threshold: the lowest that is kept, in the type of the column.
  """

  column: str
  threshold: float

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  def check(self, field: str) -> None:
    check_column(self.column, field)
    if np.isnan(self.threshold):
      raise ValueError(f"{field}.threshold must be a number; got nan")

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context

    def decide(table: pa.Table) -> operators.Verdict:
      is_double = pa.types.is_float64(table.schema.field(self.column).type)
      # As NumPy compares a column with a Python number: in the column's type.
      kind = np.dtype(np.float64 if is_double else np.float32)
      found = scores(table, self.column, kind)
      return operators.Verdict(found >= kind.type(self.threshold))

    return decide


@dataclasses.dataclass(frozen=True)
class TopFraction(operators.Reduction):
  """Keep the pairs with the highest scores, of those that come to this step.

  The cut is DataComp's (baselines/apply_filter.py): the score at index
  int(N * fraction) of the descending order of N scores; what is as high is
  kept. So that are int(N * fraction) + 1 pairs, and all that tie with the last.

  Attributes:
    column: the score, taken as float32.
    fraction: above 0, at most 1.
    raw: whether the cut is that of all pairs of the pool, whatever the steps
      before dropped; for columns of the pool.
  """

  column: str
  fraction: float
  raw: bool

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  @property
  def measured(self) -> tuple[str, ...]:
    return (self.column,)

  @property
  def measures_raw(self) -> bool:
    return self.raw

  def check(self, field: str) -> None:
    check_column(self.column, field)
    if not 0 < self.fraction <= 1:
      raise ValueError(
        f"{field}.fraction must be above 0 and at most 1; got {self.fraction}"
      )

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    return _Measure(self.column)

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    assert context.state is not None
    cut, summary = quantiles.fraction_threshold(parts, self.fraction, run)
    np.save(context.state / "cut.npy", cut)
    # JSON has no infinity.
    shown = float(cut) if np.isfinite(cut) else None
    facts: dict[str, Any] = {
      "score": self.column,
      "num_scores": summary.num,
      "num_without": summary.num_nan,
      "cut": shown,
    }
    if summary.num:
      edges = histogram_edges(summary.least, summary.greatest)
      counts = quantiles.histogram(parts, edges, run)
      facts["histogram"] = {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "cut": shown,
      }
    return facts

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    assert context.state is not None
    cut = np.load(context.state / "cut.npy", allow_pickle=False)
    return lambda table: operators.Verdict(scores(table, self.column) >= cut)


class _Measure:
  """The scores of a shard."""

  def __init__(self, column: str):
    self._column = column
    self._scores = quantiles.Scores()

  def add(self, table: pa.Table) -> None:
    self._scores.add(scores(table, self._column))

  def save(self, path: pathlib.Path) -> None:
    self._scores.save(path)


def scores(
  table: pa.Table, column: str, dtype: np.dtype = _FLOAT32
) -> np.ndarray:
  """Return a column as floats [N], NaN where it is null.

  Raises:
    ValueError: it does not have numbers.
  """
  kind = table.schema.field(column).type
  if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
    raise ValueError(
      f"a score must be a column of numbers; {column} is of {kind}"
    )
  found = table[column].cast(pa.from_numpy_dtype(dtype), safe=False)
  return found.to_numpy().astype(dtype, copy=False)


def histogram_edges(least: float, greatest: float) -> np.ndarray:
  """Return the edges of NUM_BINS bins that all scores are in."""
  if least == greatest:
    least, greatest = least - 0.5, greatest + 0.5
  return np.linspace(least, greatest, NUM_BINS + 1)


def check_column(column: str, field: str) -> None:
  """Raise ValueError, naming `field`.column, where there is no name."""
  if not column:
    raise ValueError(
      f"{field}.column is empty; expected a signal of an earlier step or a "
      "column of the pool, as clip_l14_similarity_score"
    )
