"""Counts of pairs of neighbouring terms, more of them than memory holds.

The method is that of term_counts.py, with the hashes of the two terms as the
key: runs are sorted .npy files of PAIR.
"""

import io
import pathlib
from collections.abc import Sequence

import numpy as np

from curation.metadata import term_counts
from runtime.storage import whole_files

PAIR = np.dtype([("first", "<u8"), ("second", "<u8"), ("count", "<i8")])
# Pairs that a counter holds before it writes a run: 72 MB, and three times that
# when they are sorted.
_MAX_PAIRS = 3_000_000
# The header of a run, which NumPy fills to 128 bytes, is shorter.
_HEADER_BYTES = 1024


class PairCounter:
  """Counts of the pairs of one task, written as runs into a folder."""

  def __init__(self, folder: pathlib.Path, max_pairs: int = _MAX_PAIRS):
    self._folder = folder
    self._max_pairs = max_pairs
    self._parts: list[np.ndarray] = []
    self._num_rows = 0
    self._num_runs = 0

  def add(self, ids: np.ndarray, hashes: np.ndarray) -> None:
    """Count neighbours.

    Args:
      ids: int64 [T], index of each token in `hashes`; -1 separates the tokens
        on both its sides.
      hashes: uint64 [V], hashes of the terms.
    """
    first, second = ids[:-1], ids[1:]
    kept = (first >= 0) & (second >= 0)
    keys = first[kept] * len(hashes) + second[kept]
    keys, counts = np.unique(keys, return_counts=True)
    part = np.empty(len(keys), PAIR)
    part["first"] = hashes[keys // max(len(hashes), 1)]
    part["second"] = hashes[keys % max(len(hashes), 1)]
    part["count"] = counts
    self._parts.append(part)
    self._num_rows += len(part)
    if self._num_rows > self._max_pairs:
      summed = sum_pairs(self._parts)
      self._parts, self._num_rows = [summed], len(summed)
      if self._num_rows > self._max_pairs // 2:
        self.close()

  def close(self) -> None:
    """Write the counts that are not written yet."""
    if not self._parts:
      return
    path = self._folder / f"pairs-{self._num_runs:04d}.npy"
    np.save(path, sum_pairs(self._parts), allow_pickle=False)
    self._num_runs += 1
    self._parts, self._num_rows = [], 0


def load(path: pathlib.Path) -> np.ndarray:
  """Return a run, see `whole_files.mapped`."""
  data = whole_files.mapped(path)
  file = io.BytesIO(data[:_HEADER_BYTES])
  np.lib.format.read_magic(file)
  (num_pairs,), _, _ = np.lib.format.read_array_header_1_0(file)
  return np.frombuffer(data, PAIR, num_pairs, file.tell())


def merge(
  paths: Sequence[pathlib.Path], part: int, num_parts: int
) -> np.ndarray:
  """Return the PAIRs of one of equal ranges of the first hash, sorted."""
  slices = []
  for path in paths:
    pairs = load(path)
    low, high = term_counts.range_of(pairs["first"], part, num_parts)
    slices.append(np.array(pairs[low:high]))
  return sum_pairs(slices) if slices else np.empty(0, PAIR)


def sum_pairs(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Return distinct pairs and their counts, sorted by first, then second."""
  # Separate columns are twice as fast as the fields of PAIR.
  first = np.concatenate([part["first"] for part in parts])
  second = np.concatenate([part["second"] for part in parts])
  order = np.lexsort((second, first))
  first, second = first[order], second[order]
  is_new = np.ones(len(order), bool)
  is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
  starts = np.flatnonzero(is_new)
  pairs = np.empty(len(starts), PAIR)
  pairs["first"], pairs["second"] = first[starts], second[starts]
  if len(starts):
    counts = np.concatenate([part["count"] for part in parts])[order]
    pairs["count"] = np.add.reduceat(counts, starts)
  return pairs
