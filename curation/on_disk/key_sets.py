"""Sets of 64-bit keys that were made by groups.py, mapped into memory."""

import pathlib

import numpy as np

from curation.keys import hashing
from curation.on_disk import runs


class Keys:
  """A set of keys, in memory only where it is looked at."""

  def __init__(self, path: pathlib.Path) -> None:
    (self._keys,) = runs.load(path) or (np.zeros(0, np.uint64),)

  def __len__(self) -> int:
    return len(self._keys)

  def contains(self, keys: np.ndarray) -> np.ndarray:
    """Return a bool [N] for keys, uint64 [N]."""
    return _places(self._keys, keys)[1]


class Winners:
  """The pair that wins, of each key that several pairs have."""

  def __init__(self, path: pathlib.Path) -> None:
    self._keys, self._high, self._low = runs.load(path) or (
      (np.zeros(0, np.uint64),) * 3
    )

  def keep(self, keys: np.ndarray, uids: np.ndarray) -> np.ndarray:
    """Return a bool [N]: whether the pair wins, or is the only one.

    A UID that the pool has twice under a key wins twice.
    """
    places, is_there = _places(self._keys, keys)
    high, low = hashing.halves(uids)
    rows = places[is_there]
    keep = np.ones(len(keys), bool)
    keep[is_there] = (self._high[rows] == high[is_there]) & (
      self._low[rows] == low[is_there]
    )
    return keep


def _places(
  found: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return where each key is, int64 [N], and whether it is there at all."""
  if not len(found):
    return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
  # In order, so that each look-up is near the last.
  order = np.argsort(keys)
  places = np.empty(len(keys), np.int64)
  places[order] = np.searchsorted(found, keys[order])
  places = np.minimum(places, len(found) - 1)
  return places, found[places] == keys
