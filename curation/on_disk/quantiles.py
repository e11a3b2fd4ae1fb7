"""Exact quantiles of the float32 scores of all shards, in bounded memory.

A shard's part holds its scores unsorted. A rank takes two passes over the
parts: a histogram of the upper 16 bits of all scores, then one of the lower 16
bits of the scores in the cell with the rank. Bits are mapped so that their
order, as unsigned integers, is that of the numbers.

NaN is no score: it is not counted in N and never above a threshold. -0.0 is
0.0. Results are the same for any order and size of the parts.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from curation import operators

_CELLS = 1 << 16
# Highest number of tasks that read parts: each returns half a megabyte.
_MAX_TASKS = 64
# Lowest number of scores counted at once; parts are never split.
_CHUNK = 1 << 20


class Scores:
  """Scores of a shard: an operators.Measure."""

  def __init__(self) -> None:
    self._scores: list[np.ndarray] = []

  def add(self, values: np.ndarray) -> None:
    """Add scores [N] of any float type; they become float32."""
    self._scores.append(np.asarray(values, np.float32).reshape(-1))

  def save(self, path: pathlib.Path) -> None:
    """Write the scores in the order in which they were added."""
    scores = np.concatenate([np.zeros(0, np.float32), *self._scores])
    with open(path, "wb") as file:
      np.save(file, scores, allow_pickle=False)


@dataclasses.dataclass(frozen=True)
class Summary:
  """Summary of the scores of all parts.

  Attributes:
    num: number of scores.
    num_nan: number of NaN, which are not in `num`.
    least: lowest score; NaN without scores.
    greatest: highest score; NaN without scores.
  """

  num: int
  num_nan: int
  least: float
  greatest: float


def fraction_threshold(
  parts: Sequence[pathlib.Path], fraction: float, run: operators.RunFn
) -> tuple[np.float32, Summary]:
  """Return the value at index int(N * fraction) of the descending sort.

  Scores at least as high are DataComp's top fraction (mlfoundations/datacomp,
  baselines/apply_filter.py): int(N * fraction) + 1 scores, and those that tie
  with the last. If the index is N (a fraction of 1, no scores) the value is
  -inf, which keeps all scores.
  """
  summary, cells = _upper(parts, run)
  index = int(summary.num * fraction)
  if index >= summary.num:
    return np.float32(-np.inf), summary
  return _ranked(parts, cells, summary.num - 1 - index, run), summary


def value_at(
  parts: Sequence[pathlib.Path], index: int, run: operators.RunFn
) -> np.float32:
  """Return the score at an index of the ascending sort, from 0."""
  summary, cells = _upper(parts, run)
  if not 0 <= index < summary.num:
    raise IndexError(f"expected an index in 0..{summary.num - 1}; got {index}")
  return _ranked(parts, cells, index, run)


def histogram(
  parts: Sequence[pathlib.Path], edges: np.ndarray, run: operators.RunFn
) -> np.ndarray:
  """Return the counts of numpy.histogram, int64 [len(edges) - 1]."""
  fn = functools.partial(_histogram, edges=np.asarray(edges, np.float64))
  return sum(run(fn, _grouped(parts)), np.zeros(len(edges) - 1, np.int64))


def ordered_bits(values: np.ndarray) -> np.ndarray:
  """Return uint32 [N] in the same order as the float32 values."""
  # Adding 0.0 makes -0.0 the same as 0.0.
  bits = (np.asarray(values, np.float32) + np.float32(0)).view(np.uint32)
  negative = (bits >> np.uint32(31)).astype(bool)
  return np.where(negative, ~bits, bits | np.uint32(1 << 31))


def from_ordered_bits(bits: np.ndarray) -> np.ndarray:
  """Return the float32 values of `ordered_bits`."""
  bits = np.asarray(bits, np.uint32)
  positive = (bits >> np.uint32(31)).astype(bool)
  return np.where(positive, bits & np.uint32((1 << 31) - 1), ~bits).view(
    np.float32
  )


def _upper(
  parts: Sequence[pathlib.Path], run: operators.RunFn
) -> tuple[Summary, np.ndarray]:
  """Return a summary, and counts by upper 16 bits: int64 [_CELLS]."""
  results = run(_upper_cells, _grouped(parts))
  total = sum((cells for cells, *_ in results), np.zeros(_CELLS, np.int64))
  num = int(total.sum())
  summary = Summary(
    num=num,
    num_nan=sum(num_nan for _, num_nan, _, _ in results),
    least=min((x for *_, x, _ in results), default=np.inf) if num else np.nan,
    greatest=max((x for *_, x in results), default=0.0) if num else np.nan,
  )
  return summary, total


def _ranked(
  parts: Sequence[pathlib.Path],
  cells: np.ndarray,
  index: int,
  run: operators.RunFn,
) -> np.float32:
  ends = np.cumsum(cells)
  cell = int(np.searchsorted(ends, index, side="right"))
  rank = index - (int(ends[cell - 1]) if cell else 0)
  fn = functools.partial(_lower_cells, cell=cell)
  lower = sum(run(fn, _grouped(parts)), np.zeros(_CELLS, np.int64))
  low = int(np.searchsorted(np.cumsum(lower), rank, side="right"))
  return from_ordered_bits(np.array([cell << 16 | low], np.uint32))[0]


def _upper_cells(
  parts: Sequence[pathlib.Path],
) -> tuple[np.ndarray, int, float, float]:
  """Return counts by cell, number of NaN, lowest and highest score."""
  cells = np.zeros(_CELLS, np.int64)
  num_nan, least, greatest = 0, np.inf, -np.inf
  for values in _chunks(parts):
    numbers = values[~np.isnan(values)]
    num_nan += len(values) - len(numbers)
    least = min(least, float(numbers.min(initial=np.inf)))
    greatest = max(greatest, float(numbers.max(initial=-np.inf)))
    upper = ordered_bits(numbers) >> np.uint32(16)
    cells += np.bincount(upper, minlength=_CELLS)
  return cells, num_nan, least, greatest


def _lower_cells(parts: Sequence[pathlib.Path], *, cell: int) -> np.ndarray:
  cells = np.zeros(_CELLS, np.int64)
  for values in _chunks(parts):
    bits = ordered_bits(values[~np.isnan(values)])
    bits = bits[bits >> np.uint32(16) == cell]
    cells += np.bincount(bits & np.uint32(_CELLS - 1), minlength=_CELLS)
  return cells


def _histogram(
  parts: Sequence[pathlib.Path], *, edges: np.ndarray
) -> np.ndarray:
  counts = np.zeros(len(edges) - 1, np.int64)
  for values in _chunks(parts):
    counts += np.histogram(values[~np.isnan(values)], edges)[0]
  return counts


def _grouped(
  parts: Sequence[pathlib.Path],
) -> list[tuple[pathlib.Path, ...]]:
  size = max(1, -(-len(parts) // _MAX_TASKS))
  return [tuple(parts[i : i + size]) for i in range(0, len(parts), size)]


def _chunks(parts: Sequence[pathlib.Path]) -> Iterator[np.ndarray]:
  """Yield all scores; small parts are joined, as each pass over cells costs."""
  waiting: list[np.ndarray] = []
  for path in parts:
    with open(path, "rb") as file:
      values = np.load(file, allow_pickle=False)
    waiting.append(values)
    if sum(map(len, waiting)) >= _CHUNK:
      yield np.concatenate(waiting)
      waiting = []
  yield np.concatenate([np.zeros(0, np.float32), *waiting])
