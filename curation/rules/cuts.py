"""Cuts by a score: at least a value, or among the highest of all pairs.

A score is a signal of an earlier step, or a column of the pool's files, such as
DataComp's clip_l14_similarity_score. A pair without a score (null) is dropped,
and so is one whose score is NaN or infinite, as a fault: it has no part in the
cut of the others.

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
from runtime import checks

NUM_BINS = 64
_FLOAT32 = np.dtype(np.float32)


@dataclasses.dataclass(frozen=True)
class Threshold(operators.Filter):
  """Keep pairs whose score is at least a value.

  Attributes:
    column: name of the score.
    threshold: lowest score that is kept, in the type of the column.
  """

  column: str
  threshold: float

  version = 2

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  def check(self, field: str) -> None:
    check_column(self.column, field)
    if np.isnan(self.threshold):
      checks.refuse(f"{field}.threshold must be a number; got nan")

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context
    return lambda table: verdict(table, self.column, self._keep(table))

  def _keep(self, table: pa.Table) -> np.ndarray:
    is_double = pa.types.is_float64(table.schema.field(self.column).type)
    # NumPy compares a column with a Python number in the column's type.
    kind = np.dtype(np.float64 if is_double else np.float32)
    return scores(table, self.column, kind) >= kind.type(self.threshold)


@dataclasses.dataclass(frozen=True)
class TopFraction(operators.Filter, operators.Reduction):
  """Keep the pairs with the highest scores, of those that come to this step.

  The cut is DataComp's (baselines/apply_filter.py): the score at index
  int(N * fraction) of the descending order of N scores. Pairs with a score at
  least as high are kept: int(N * fraction) + 1, and those that tie with the
  last of them.

  Attributes:
    column: name of the score, taken as float32.
    fraction: share that is kept, above 0, at most 1.
    raw: whether the cut is computed over all pairs of the pool, also those
      that earlier steps dropped; for columns of the pool.
  """

  column: str
  fraction: float
  raw: bool

  version = 2

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  @property
  def measures_raw(self) -> bool:
    return self.raw

  def check(self, field: str) -> None:
    check_column(self.column, field)
    checks.above(f"{field}.fraction", self.fraction, 0)
    checks.between(f"{field}.fraction", self.fraction, 0, 1)

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    gathered = quantiles.Scores()
    return operators.MeasureOf(
      lambda table: gathered.add(scores(table, self.column)), gathered.save
    )

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    cut, summary = quantiles.fraction_threshold(
      parts, self.fraction, context.run
    )
    np.save(context.state / "cut.npy", cut)
    # JSON has no infinity.
    shown = float(cut) if np.isfinite(cut) else None
    facts: dict[str, Any] = {
      "score": self.column,
      "num_scores": summary.num,
      # Null, NaN or infinite; what is no null is a fault of the step too.
      "num_without": summary.num_nan,
      "cut": shown,
    }
    if summary.num:
      edges = histogram_edges(summary.least, summary.greatest)
      counts = quantiles.histogram(parts, edges, context.run)
      facts["histogram"] = {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "cut": shown,
      }
    return facts

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    cut = np.load(context.state / "cut.npy", allow_pickle=False)
    return lambda table: verdict(
      table, self.column, scores(table, self.column) >= cut
    )


def scores(
  table: pa.Table, column: str, dtype: np.dtype = _FLOAT32
) -> np.ndarray:
  """Return a column as floats [N], NaN where there is no finite number.

  A number beyond float32 becomes the largest that it has.

  Raises:
    ValueError: the column does not hold numbers.
  """
  kind = table.schema.field(column).type
  if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)) and not (
    pa.types.is_boolean(kind) or pa.types.is_decimal(kind)
  ):
    raise ValueError(
      f"a score must be a column of numbers; {column} is of {kind}"
    )
  floats = table[column].cast(pa.float64(), safe=False).to_numpy()
  floats = np.where(np.isfinite(floats), floats, np.nan)
  limit = np.finfo(dtype).max
  return np.clip(floats, -limit, limit).astype(dtype)


def verdict(
  table: pa.Table, column: str, keep: np.ndarray
) -> operators.Verdict:
  """Return a verdict that names scores that are NaN or infinite as faults."""
  values = table[column].cast(pa.float64(), safe=False)
  is_broken = values.is_valid().to_numpy() & ~np.isfinite(values.to_numpy())
  if not is_broken.any():
    return operators.Verdict(keep)
  messages = [
    f"score_broken: {column} is {value}" if broken else None
    for value, broken in zip(values.to_pylist(), is_broken, strict=True)
  ]
  return operators.Verdict(keep, {}, pa.array(messages, pa.string()))


def histogram_edges(least: float, greatest: float) -> np.ndarray:
  """Return the edges of NUM_BINS bins that cover all scores."""
  if least == greatest:
    least, greatest = least - 0.5, greatest + 0.5
  return np.linspace(least, greatest, NUM_BINS + 1)


def check_column(column: str, field: str) -> None:
  """Raise ValueError, naming `field`.column, for an empty name."""
  if not column:
    raise ValueError(
      f"{field}.column must name a signal of an earlier step or a column of "
      "the pool, as clip_l14_similarity_score; got ''"
    )
