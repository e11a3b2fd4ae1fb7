"""Counts of terms, more of them than memory holds.

Workers write runs: Arrow files of (hash, term, count), distinct terms in the
order of the hashes. A range of hashes is a slice of each run, and the ranges
are added up one by one. Counts are integers, so neither the order nor the
number of runs changes a sum.
"""

import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.keys import hashing
from runtime.storage import whole_files

# Terms that a counter holds before it writes a run: about 100 MB.
_MAX_TERMS = 2_000_000
# Odd number whose powers differ in all bits: the golden ratio (see SplitMix64).
_BASE = np.uint64(0x9E3779B97F4A7C15)
_NUM_HASHES = 1 << 64
# Terms hashed at once: hashing takes about 40 bytes for a byte of the terms.
_HASHED_AT_ONCE = 1 << 17


class TermCounter:
  """Counts of the terms of one task, written as runs into a folder."""

  def __init__(self, folder: pathlib.Path, max_terms: int = _MAX_TERMS):
    self._folder = folder
    self._max_terms = max_terms
    self._tables: list[pa.Table] = []
    self._num_rows = 0
    self._num_runs = 0

  def add(self, terms: pa.Array, counts: np.ndarray) -> None:
    """Add `counts` [N] to the terms, which may be repeated."""
    self._tables.append(_table(terms, counts))
    self._num_rows += len(terms)
    if self._num_rows > self._max_terms:
      summed = _summed(self._tables)
      self._tables, self._num_rows = [summed], len(summed)
      # A table that hardly shrank is written, or each call would sum it again.
      if self._num_rows > self._max_terms // 2:
        self.close()

  def close(self) -> None:
    """Write the counts that are not written yet."""
    if not self._tables:
      return
    table = with_hashes(_summed(self._tables))
    save(self._folder / f"terms-{self._num_runs:04d}.arrow", table)
    self._num_runs += 1
    self._tables, self._num_rows = [], 0


def hash64(terms: pa.Array) -> np.ndarray:
  """Return hashes of the UTF-8 bytes of a string array, uint64 [N]."""
  slices = [
    _hash64(terms.slice(start, _HASHED_AT_ONCE))
    for start in range(0, len(terms), _HASHED_AT_ONCE)
  ]
  return np.concatenate(slices) if slices else np.empty(0, np.uint64)


def _hash64(terms: pa.Array) -> np.ndarray:
  terms = terms.cast(pa.large_binary())
  _, offsets, data = terms.buffers()
  at = np.frombuffer(offsets, np.int64)[terms.offset :][: len(terms) + 1]
  lengths = np.diff(at)
  hashes = lengths.astype(np.uint64)
  used = lengths > 0
  if not used.any():
    return hashing.mix(hashes)
  letters = np.frombuffer(data, np.uint8)[at[0] : at[-1]].astype(np.uint64)
  starts = at[:-1] - at[0]
  position = np.arange(len(letters)) - np.repeat(starts, lengths)
  powers = np.full(int(lengths.max()), _BASE).cumprod(dtype=np.uint64)
  # Each byte is mixed on its own, so that sums of bytes are large numbers.
  parts = hashing.mix(letters + np.uint64(1)) * powers[position]
  hashes[used] += np.add.reduceat(parts, starts[used])
  return hashing.mix(hashes)


def with_hashes(table: pa.Table) -> pa.Table:
  """Return (hash, term, count), sorted by hash, from (term, count)."""
  hashes = hash64(table["term"].combine_chunks())
  order = np.argsort(hashes, kind="stable")
  return pa.table(
    {
      "hash": hashes[order],
      "term": table["term"].take(order),
      "count": table["count"].take(order),
    }
  )


def save(path: pathlib.Path, table: pa.Table) -> None:
  """Write an Arrow file, whole or not at all."""
  with (
    whole_files.replacing(path) as file,
    pa.ipc.new_file(file, table.schema) as writer,
  ):
    writer.write_table(table)


def load(path: pathlib.Path) -> pa.Table:
  """Return an Arrow file's table, see `whole_files.mapped`."""
  return pa.ipc.open_file(pa.py_buffer(whole_files.mapped(path))).read_all()


def num_rows(paths: Sequence[pathlib.Path]) -> int:
  """Return the total number of rows of runs."""
  return sum(len(load(path)) for path in paths)


def merge(paths: Sequence[pathlib.Path], part: int, num_parts: int) -> pa.Table:
  """Return (hash, term, count) of one of equal ranges of hashes, by hash.

  Raises:
    ValueError: two terms have the same hash; bigrams, which are counted by
      hashes, would be mixed up.
  """
  slices = []
  for path in paths:
    table = load(path)
    low, high = range_of(table["hash"].to_numpy(), part, num_parts)
    # Copied: a slice would keep all of its run in memory.
    rows = pa.array(np.arange(low, high))
    slices.append(table.select(["term", "count"]).take(rows))
  if not slices:
    return with_hashes(_table(pa.array([], pa.string()), np.zeros(0, np.int64)))
  table = with_hashes(_summed(slices))
  hashes = table["hash"].to_numpy()
  same = np.flatnonzero(hashes[1:] == hashes[:-1])
  if len(same):
    pair = table["term"].slice(int(same[0]), 2).to_pylist()
    raise ValueError(f"the terms {pair} have the same 64-bit hash")
  return table


def range_of(hashes: np.ndarray, part: int, num_parts: int) -> tuple[int, int]:
  """Return the first and last (exclusive) index of a range in sorted hashes."""
  edges = [(_NUM_HASHES * number // num_parts) for number in (part, part + 1)]
  low, high = (
    len(hashes)
    if edge == _NUM_HASHES
    else int(np.searchsorted(hashes, np.uint64(edge)))
    for edge in edges
  )
  return low, high


def top(
  tables: Iterable[pa.Table], num_terms: int, min_count: int
) -> tuple[list[str], np.ndarray]:
  """Return the most frequent terms and their counts; ties sort by the term."""
  best = _table(pa.array([], pa.string()), np.zeros(0, np.int64))
  for table in tables:
    table = table.select(["term", "count"])
    table = table.filter(pc.greater_equal(table["count"], min_count))
    best = pa.concat_tables([best, table])
    if len(best) > 2 * num_terms + (1 << 20):
      best = _first(best, num_terms)
  best = _first(best, num_terms)
  return best["term"].to_pylist(), best["count"].to_numpy()


def _first(table: pa.Table, num_terms: int) -> pa.Table:
  keys = [("count", "descending"), ("term", "ascending")]
  return table.sort_by(keys).slice(0, num_terms)


def _table(terms: pa.Array, counts: np.ndarray) -> pa.Table:
  return pa.table(
    {"term": terms.cast(pa.string()), "count": counts.astype(np.int64)}
  )


def _summed(tables: Sequence[pa.Table]) -> pa.Table:
  table = pa.concat_tables(tables).group_by("term", use_threads=False)
  return table.aggregate([("count", "sum")]).rename_columns(["term", "count"])
