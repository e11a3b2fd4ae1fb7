"""Files of UIDs as a step: DataComp's subsets, or earlier selections."""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa

from curation import operators, pool
from input_pipeline.sources import subset as subset_lib

# UIDs between those of a file that are in memory: 8 bytes each, 2.7 MB for the
# 1.4 billion of DataComp-1B.
_STRIDE = 4096


@dataclasses.dataclass(frozen=True)
class Subset(operators.Filter):
  """Keep the pairs that some of the files name.

  One step with several files is their union; a step each, their intersection.
  UIDs that a file repeats, as some of DataComp's do, are kept once.

  Attributes:
    paths: .npy files of sorted UIDs, dtype "u8,u8".
  """

  paths: tuple[str, ...]

  def check(self, field: str) -> None:
    """Look at the files."""
    if not self.paths:
      raise ValueError(f"{field}.paths must name .npy files of UIDs, got ()")
    for path in self.paths:
      if not pathlib.Path(path).is_file():
        raise ValueError(f"{field}.paths: there is no file {path}")
      subset_lib.read(f"{field}.paths", path)

  def files(self) -> tuple[str, ...]:
    """Return the files."""
    return self.paths

  def open(self, place: operators.Place) -> operators.DecideFn:
    """Map the files; raises ValueError for one that is not sorted."""
    del place
    sets = [_Sorted(path) for path in self.paths]

    def decide(table: pa.Table) -> operators.Verdict:
      uids = pool.uids(table)
      keep = np.zeros(len(uids), bool)
      for names in sets:
        keep |= names.have(uids)
      return operators.Verdict(keep)

    return decide


class _Sorted:
  """Sorted UIDs on disk, of which each look-up reads a few."""

  def __init__(self, path: str):
    self._uids = subset_lib.read("subset", path)
    sample = self._uids[::_STRIDE]
    self._highs = np.ascontiguousarray(sample["f0"])
    self._check(path)

  def have(self, uids: np.ndarray) -> np.ndarray:
    """Return bool [N], which of some UIDs are there."""
    highs, lows = uids["f0"], uids["f1"]
    # The first that is not lower is after the last of the sample that is below
    # and not after the first of it that is above.
    low = np.searchsorted(self._highs, highs, "left") - 1
    low = np.maximum(low, 0) * _STRIDE
    high = np.searchsorted(self._highs, highs, "right") * _STRIDE
    high = np.minimum(high, len(self._uids))
    while (low < high).any():
      middle = (low + high) // 2
      found = self._uids[np.minimum(middle, len(self._uids) - 1)]
      is_lower = (found["f0"] < highs) | (
        (found["f0"] == highs) & (found["f1"] < lows)
      )
      is_lower &= low < high
      low = np.where(is_lower, middle + 1, low)
      high = np.where(is_lower, high, np.minimum(high, middle))
    found = self._uids[np.minimum(low, len(self._uids) - 1)]
    return (found["f0"] == highs) & (found["f1"] == lows)

  def _check(self, path: str) -> None:
    """Raise ValueError for a file that is not sorted, as the sample shows."""
    wrong = np.flatnonzero(self._highs[1:] < self._highs[:-1])
    if len(wrong):
      raise ValueError(
        f"{path} must be sorted (np.sort), but UID "
        f"{(int(wrong[0]) + 1) * _STRIDE} is lower than one before it"
      )
