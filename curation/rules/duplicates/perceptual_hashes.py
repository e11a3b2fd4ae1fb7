"""Operators on perceptual hashes: make them, and drop images that share one."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.keys import hamming
from curation.on_disk import groups, key_sets, runs
from curation.rules.duplicates import phash
from input_pipeline import faults

# Odd factor of hashes, modulo 2^64 (2^64 divided by the golden ratio: Knuth,
# volume 3, section 6.4): groups.py needs keys that are spread evenly, and a DCT
# hash nearly always begins with a 1.
_SPREAD = 0x9E3779B97F4A7C15
_UNSPREAD = pow(_SPREAD, -1, 2**64)
_WINNERS, _DROPPED = "winners", "dropped"


@dataclasses.dataclass(frozen=True)
class PerceptualHash(operators.Filter):
  """Hash images (phash.py); drop those that cannot be decoded.

  Attributes:
    signal: name of the column of hashes, uint64. Column SIGNAL_fault has the
      kind of the fault of a dropped pair (a key of
      input_pipeline.faults.KINDS), else null.
  """

  signal: str

  version = 2

  columns = ("image",)

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal, f"{self.signal}_fault")

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context
    return self._decide

  def _decide(self, table: pa.Table) -> operators.Verdict:
    # An image with several captions is decoded once.
    _, first, back = np.unique(
      pool.sortable_uids(table), return_index=True, return_inverse=True
    )
    grey_NYX = np.zeros((len(first), phash.SIDE, phash.SIDE), np.uint8)
    kinds: list[str | None] = [None] * len(first)
    for n, row in enumerate(first.tolist()):
      data = table["image"][row].as_py()
      if not data:
        kinds[n] = "image_missing"
        continue
      try:
        grey_NYX[n] = phash.grey(data)
      except faults.ExampleError as error:
        kinds[n] = error.kind
    keep = np.array([kind is None for kind in kinds], bool)[back]
    hashes = pa.array(phash.hashes(grey_NYX)[back], mask=~keep)
    fault = pa.array(kinds, pa.string()).take(pa.array(back))
    return operators.Verdict(
      keep, {self.signal: hashes, f"{self.signal}_fault": fault}
    )


@dataclasses.dataclass(frozen=True)
class DuplicateImages(operators.Filter, operators.Reduction):
  """Keep one of the images whose hashes are equal, or near.

  Among pairs with equal hashes, the one whose UID has the lowest hash is kept
  (the winner). Perceptual hashes that are near are visited in the order of
  their winners, and each is kept unless it is near one that was kept
  (keys/hamming.py): a dropped image is within `max_distance` of a kept one,
  and no two kept images are.

  Equal hashes are grouped in workers, in constant memory (groups.py). Near ones
  are searched among all distinct hashes at once, in one process: see
  keys/hamming.py. This suits tens of millions of images up to a distance of 3,
  about a million up to 11.

  Attributes:
    column: name of a column of 64-bit hashes (uint64), as `phash` makes them.
    max_distance: number of bits in which hashes may differ: 0 (COYO-700M), or
      up to 11; imagededup's default is 10.
    seed: random seed of the hashes of UIDs.
  """

  column: str
  max_distance: int
  seed: int

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  def check(self, field: str) -> None:
    hamming.check_distance(self.max_distance, f"{field}.max_distance")

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    winners = groups.Members(self.seed)

    def add(table: pa.Table) -> None:
      keys = _spread(read_hashes(table, self.column))
      winners.add(keys, pool.uids(table))

    return operators.MeasureOf(add, winners.save)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    facts = groups.winners(parts, context.state / _WINNERS, context.run)
    num_near = 0
    if self.max_distance:
      path = context.state / "every_winner"
      groups.every_winner(parts, path, context.run)
      keys = _dropped(runs.load(path), self.max_distance)
      path.unlink()
      with runs.writing(context.state / _DROPPED, len(keys)) as append:
        append((keys,))
      num_near = len(keys)
    return {"num_hashes": facts["num_keys"], "num_near_hashes": num_near}

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    winners = key_sets.Winners(context.state / _WINNERS)
    dropped = None
    if self.max_distance:
      dropped = key_sets.Keys(context.state / _DROPPED)

    def decide(table: pa.Table) -> operators.Verdict:
      keys = _spread(read_hashes(table, self.column))
      keep = winners.keep(keys, pool.uids(table))
      if dropped is not None:
        keep &= ~dropped.contains(keys)
      return operators.Verdict(keep)

    return decide


def read_hashes(table: pa.Table, column: str) -> np.ndarray:
  """Return a column of 64-bit hashes as uint64 [N].

  Raises:
    ValueError: the column is of another type, or has nulls.
  """
  values = table[column]
  if values.type != pa.uint64() or values.null_count:
    raise ValueError(
      f"{column} must hold a hash of every pair, uint64; got {values.type}"
      f" with {values.null_count} nulls"
    )
  return values.to_numpy()


def _dropped(columns: runs.Columns, max_distance: int) -> np.ndarray:
  """Return the keys of hashes near a kept one, uint64, ascending."""
  if not columns:
    return np.empty(0, np.uint64)
  keys, rank, high, low = columns
  order = np.lexsort((low, high, rank))
  priority = np.empty(len(order), np.int64)
  priority[order] = np.arange(len(order))
  first, second = hamming.near_pairs(keys * np.uint64(_UNSPREAD), max_distance)
  return keys[~hamming.kept(first, second, priority)]


def _spread(hashes: np.ndarray) -> np.ndarray:
  return hashes * np.uint64(_SPREAD)
