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
    order = np.argsort(uids["f0"])  # what is read then lies together
    highs, lows = uids["f0"][order], uids["f1"][order]
    # Of those in memory, the last that is below and the first that is above.
    low = np.searchsorted(self._highs, highs, "left") - 1
    low = np.maximum(low, 0) * self._stride
    high = np.searchsorted(self._highs, highs, "right") * self._stride
    high = np.minimum(high, len(self._uids))
    all_highs, all_lows = self._uids["f0"], self._uids["f1"]
    while (low < high).any():
      middle = (low + high) // 2
      # Where nothing is left to search, `middle` may be behind the end.
      places = np.minimum(middle, len(self._uids) - 1)
      found = all_highs[places]
      is_lower = found < highs
      same = np.flatnonzero(found == highs)
      is_lower[same] = all_lows[places[same]] < lows[same]
      is_lower &= low < high
      low = np.where(is_lower, middle + 1, low)
      high = np.where(is_lower, high, np.minimum(high, middle))
    places = np.empty_like(low)
    places[order] = low
    return places

  def count(self, uids: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return int64 [n]: how often each is there, of what `first` gave."""
    counts = np.zeros(len(uids), np.int64)
    left = np.arange(len(uids))
    while len(left):
      places = first[left] + counts[left]
      left, places = (x[places < len(self._uids)] for x in (left, places))
      found = self._uids[places]
      same = found["f0"] == uids["f0"][left]
      same &= found["f1"] == uids["f1"][left]
      left = left[same]
      counts[left] += 1
    return counts
