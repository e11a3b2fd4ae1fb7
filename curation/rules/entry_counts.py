"""How often each entry of the metadata is matched, in all shards together."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators
from curation.captions import entry_lists, matching

# Files of a state: matches of each entry, int64 [E], and, of metaclip_balance,
# the t of each language, int64 [languages].
COUNTS = "counts.npy"
TS = "ts.npy"

# A part's file: the entries with a match, ascending.
_COUNT = np.dtype([("entry", "<u4"), ("count", "<u8")])
# Numbers that are held until they are counted: 16 MiB.
_MAX_HELD = 1 << 22
# Points of a curve for the report.
_MAX_POINTS = 512


class Counter:
  """Counts the signal `matches` of one shard; a measure of a reduction."""

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
    """Write the counts of the entries that have any, as .npy."""
    self._count()
    with open(path, "wb") as file:
      np.save(file, self._counts, allow_pickle=False)

  def _count(self) -> None:
    held = np.concatenate([np.zeros(0, np.uint32), *self._held])
    found, numbers = _run_lengths(np.sort(held, kind="stable"))
    counts = np.empty(len(found), _COUNT)
    counts["entry"], counts["count"] = found, numbers
    self._counts = _merged([self._counts, counts])
    self._held, self._num_held = [], 0


def total(parts: Sequence[pathlib.Path], num_entries: int) -> np.ndarray:
  """Return the matches of each entry in all parts: int64 [E].

  Raises:
    ValueError: a part has matches of entries that there are not.
  """
  counts = np.zeros(num_entries, np.int64)
  for part in parts:
    found = np.load(part, allow_pickle=False)
    if len(found) and found["entry"][-1] >= num_entries:
      raise ValueError(
        f"a pair matches entry {found['entry'][-1]} of metadata with "
        f"{num_entries} entries; expected the metadata that metaclip_match had"
      )
    counts[found["entry"]] += found["count"].astype(np.int64)
  return counts


def matches_of(table: pa.Table) -> matching.Matches:
  """Return the matches that metaclip_match found for pairs."""
  column = table["matches"].combine_chunks()
  offsets = column.offsets.to_numpy().astype(np.int64)
  ids = column.values.to_numpy()[offsets[0] : offsets[-1]]
  return matching.Matches(offsets - offsets[0], ids)


def curves(before: np.ndarray, after: np.ndarray, t: int) -> dict[str, Any]:
  """Return the counts of entries by rank before, for the report.

  At most 512 ranks, evenly far apart in their logarithm; entries without a
  match are left out.
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
  """Return what the manifest says of counts."""
  return {
    "num_entries": len(counts),
    "num_matched_entries": int(np.count_nonzero(counts)),
    "num_matches": int(counts.sum()),
  }


@dataclasses.dataclass(frozen=True)
class EntryCounts(operators.Reduction):
  """Count the entries of the pairs that are left, for the report; keep all.

  After a step metaclip_balance, the report shows how often entries were matched
  before it and now, in the language with most matches before.

  Attributes:
    metadata: that of metaclip_match.
  """

  metadata: str

  measured = ("matches",)

  def check(self, field: str) -> None:
    """Raise ValueError for what is no metadata."""
    entry_lists.checked(self.metadata, field)

  def files(self) -> tuple[str, ...]:
    """Return the metadata."""
    return entry_lists.files(self.metadata)

  def measure(self, context: operators.StepContext) -> Counter:
    """Return what counts a shard's matches."""
    del context
    return Counter()

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    """Return totals and curves; the state has the counts, counts.npy."""
    del run
    assert context.state is not None
    metadata = entry_lists.open_metadata(self.metadata)
    counts = total(parts, metadata.num_entries)
    np.save(context.state / COUNTS, counts, allow_pickle=False)
    balanced = [path for _, path in context.earlier if (path / TS).exists()]
    if not balanced:
      return facts(counts)
    before = np.load(balanced[-1] / COUNTS, allow_pickle=False)
    ts = np.load(balanced[-1] / TS, allow_pickle=False)
    matches = np.add.reduceat(before, metadata.starts[:-1])
    most = int(np.argmax(matches))
    own = slice(*metadata.starts[most : most + 2])
    return {
      **facts(counts),
      "curves": curves(before[own], counts[own], int(ts[most])),
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Return what keeps all."""
    del context
    return lambda table: operators.Verdict()


def _run_lengths(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the distinct values of a sorted array and how many of each."""
  first = np.ones(len(ordered), bool)
  np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
  starts = np.flatnonzero(first)
  return ordered[starts], np.diff(starts, append=len(ordered))


def _merged(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Return counts of _COUNT as one array of them."""
  both = np.concatenate(parts)
  both = both[np.argsort(both["entry"], kind="stable")]
  starts = np.flatnonzero(np.diff(both["entry"], prepend=np.uint32(0)))
  if len(both):
    starts = np.unique(np.append(0, starts))
    merged = both[starts]
    merged["count"] = np.add.reduceat(both["count"], starts)
    return merged
  return both
