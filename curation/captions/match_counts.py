"""Counts of the matches of metadata entries, over all shards."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation.captions import matching

# Files of a step's state: the number of matches of each entry, int64 [E]; for
# metaclip_balance also the t of each language, int64 [languages].
COUNTS = "counts.npy"
TS = "ts.npy"

# Record of a shard's file: an entry with a match; entries ascend.
_COUNT = np.dtype([("entry", "<u4"), ("count", "<u8")])
# Matches that are held until they are counted: 16 MiB.
_MAX_HELD = 1 << 22
# Number of points of a curve in the report.
_MAX_POINTS = 512


class Counter:
  """Counts of the signal `matches` in one shard: an operators.Measure."""

  def __init__(self):
    self._held: list[np.ndarray] = []
    self._num_held = 0
    self._counts = np.zeros(0, _COUNT)

  def add(self, table: pa.Table) -> None:
    """Count the matches of pairs."""
    ids = matches_of(table).ids
    self._held.append(ids)
    self._num_held += len(ids)
    if self._num_held >= _MAX_HELD:
      self._count()

  def save(self, path: pathlib.Path) -> None:
    """Write the counts of the entries with a match, as .npy."""
    self._count()
    with open(path, "wb") as file:
      np.save(file, self._counts, allow_pickle=False)

  def _count(self) -> None:
    held = np.concatenate([np.zeros(0, np.uint32), *self._held])
    entries, numbers = _run_lengths(np.sort(held, kind="stable"))
    counts = np.empty(len(entries), _COUNT)
    counts["entry"], counts["count"] = entries, numbers
    self._counts = _merged([self._counts, counts])
    self._held, self._num_held = [], 0


def total(parts: Sequence[pathlib.Path], num_entries: int) -> np.ndarray:
  """Return the number of matches of each entry in all parts: int64 [E].

  Raises:
    ValueError: a part has entries that the metadata have not.
  """
  counts = np.zeros(num_entries, np.int64)
  for part in parts:
    own = np.load(part, allow_pickle=False)
    if len(own) and own["entry"][-1] >= num_entries:
      raise ValueError(
        f"a pair matches entry {own['entry'][-1]} of metadata with "
        f"{num_entries} entries; expected the metadata that metaclip_match had"
      )
    counts[own["entry"]] += own["count"].astype(np.int64)
  return counts


def matches_of(table: pa.Table) -> matching.Matches:
  """Return the signal of metaclip_match in a table."""
  column = table["matches"].combine_chunks()
  offsets = column.offsets.to_numpy().astype(np.int64)
  ids = column.values.to_numpy()[offsets[0] : offsets[-1]]
  return matching.Matches(offsets - offsets[0], ids)


def curves(before: np.ndarray, after: np.ndarray, t: int) -> dict[str, Any]:
  """Return the counts of entries by their rank before, for the report.

  At most 512 ranks, evenly spaced in their logarithm; entries without a match
  before are left out.
  """
  order = np.argsort(-before, kind="stable")[: np.count_nonzero(before)]
  ranks = np.zeros(0, np.int64)
  if len(order):
    ranks = np.geomspace(1, len(order), _MAX_POINTS)
    ranks = np.unique(np.round(ranks).astype(np.int64))
  shown = order[ranks - 1]
  return {
    "ranks": ranks.tolist(),
    "before": before[shown].tolist(),
    "after": after[shown].tolist(),
    "t": t,
  }


def facts(counts: np.ndarray) -> dict[str, int]:
  """Return totals for the manifest."""
  return {
    "num_entries": len(counts),
    "num_matched_entries": int(np.count_nonzero(counts)),
    "num_matches": int(counts.sum()),
  }


def _run_lengths(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the distinct values of a sorted array and their counts."""
  first = np.ones(len(ordered), bool)
  np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
  starts = np.flatnonzero(first)
  return ordered[starts], np.diff(starts, append=len(ordered))


def _merged(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Return the sums of arrays of _COUNT by entry."""
  both = np.concatenate(parts)
  both = both[np.argsort(both["entry"], kind="stable")]
  starts = np.flatnonzero(np.diff(both["entry"], prepend=np.uint32(0)))
  if len(both):
    starts = np.unique(np.append(0, starts))
    merged = both[starts]
    merged["count"] = np.add.reduceat(both["count"], starts)
    return merged
  return both
