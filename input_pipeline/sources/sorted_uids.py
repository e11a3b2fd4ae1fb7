"""Look-ups in sorted UIDs that stay on disk, many at a time."""

import numpy as np

# UIDs between those that are in memory, 8 bytes each: 2.7 MB for the 1.4
# billion of DataComp-1B.
STRIDE = 4096


class SortedUids:
  """Sorted UIDs, memory-mapped; a look-up reads a few of them."""

  def __init__(self, uids: np.ndarray, path: str):
    """Look at every STRIDE-th UID.

    Args:
      uids: [N] of a dtype with f0 and f1, ascending; some may be equal.
      path: of their file, for the ValueError where they are not sorted.
    """
    self._uids = uids
    self._highs = np.ascontiguousarray(uids[::STRIDE]["f0"])
    self._stride = STRIDE
    wrong = np.flatnonzero(self._highs[1:] < self._highs[:-1])
    if len(wrong):
      raise ValueError(
        f"{path} must be sorted (np.sort), but UID "
        f"{(int(wrong[0]) + 1) * STRIDE} is lower than one before it"
      )

  def have(self, uids: np.ndarray) -> np.ndarray:
    """Return bool [n], which of record.UID [n] are there."""
    first = self.first(uids)
    if not len(self._uids):
      return np.zeros(len(uids), bool)
    found = self._uids[np.minimum(first, len(self._uids) - 1)]
    return (found["f0"] == uids["f0"]) & (found["f1"] == uids["f1"])

  def first(self, uids: np.ndarray) -> np.ndarray:
    """Return int64 [n]: where each is or would be, the first of equal ones."""
    return self._search(uids, is_after=False)

  def stop(self, uids: np.ndarray) -> np.ndarray:
    """Return int64 [n]: behind the last that is equal, or as `first`."""
    return self._search(uids, is_after=True)

  def _search(self, uids: np.ndarray, *, is_after: bool) -> np.ndarray:
    highs, lows = uids["f0"], uids["f1"]
    # Of those in memory, the last that is below and the first that is above.
    low = np.searchsorted(self._highs, highs, "left") - 1
    low = np.maximum(low, 0) * self._stride
    high = np.searchsorted(self._highs, highs, "right") * self._stride
    high = np.minimum(high, len(self._uids))
    while (low < high).any():
      middle = (low + high) // 2
      found = self._uids[np.minimum(middle, len(self._uids) - 1)]
      is_lower = found["f0"] < highs
      same = found["f0"] == highs
      if is_after:
        is_lower |= same & (found["f1"] <= lows)
      else:
        is_lower |= same & (found["f1"] < lows)
      is_lower &= low < high
      low = np.where(is_lower, middle + 1, low)
      high = np.where(is_lower, high, np.minimum(high, middle))
    return low
