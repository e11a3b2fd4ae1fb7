"""Sets of 64-bit keys in files of groups.py, mapped into memory."""

import pathlib

import numpy as np

from curation.on_disk import runs
from input_pipeline.storage import uids as uids_lib


class Keys:
  """Set of keys; only the pages that look-ups read are in memory."""

  def __init__(self, path: pathlib.Path) -> None:
    (self._keys,) = runs.load(path) or (np.zeros(0, np.uint64),)

  def __len__(self) -> int:
    return len(self._keys)

  def contains(self, keys: np.ndarray) -> np.ndarray:
    """Return a bool [N] for keys, uint64 [N]."""
    return look_up(self._keys, keys)[1]


class Winners:
  """Winning pair of each key that several pairs have."""

  def __init__(self, path: pathlib.Path) -> None:
    self._keys, self._high, self._low = runs.load(path) or (
      (np.zeros(0, np.uint64),) * 3
    )

  def keep(self, keys: np.ndarray, uids: np.ndarray) -> np.ndarray:
    """Return a bool [N]: whether the pair wins, or is the only one.

    A UID that occurs twice under a key wins twice.
    """
    index, is_stored = look_up(self._keys, keys)
    high, low = uids_lib.halves(uids)
    rows = index[is_stored]
    keep = np.ones(len(keys), bool)
    keep[is_stored] = (self._high[rows] == high[is_stored]) & (
      self._low[rows] == low[is_stored]
    )
    return keep


def look_up(
  stored: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return the index of each key, int64 [N], and whether it is stored."""
  if not len(stored):
    return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
  # Sorted, so that each look-up is near the last.
  order = np.argsort(keys)
  index = np.empty(len(keys), np.int64)
  index[order] = np.searchsorted(stored, keys[order])
  index = np.minimum(index, len(stored) - 1)
  return index, stored[index] == keys
