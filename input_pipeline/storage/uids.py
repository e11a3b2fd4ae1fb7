"""UIDs: 128-bit names of examples, in all their forms, and look-ups by them.

An array of UIDs has one of three forms; functions that take `uids` take any:

  UID [N]        two little-endian halves, high and low: DataComp's subset files
  S16 [N]        16 bytes, big-endian: NumPy compares and sorts these fast, in
                 the order of the numbers
  uint8 [N, 16]  the same bytes; also a column fixed_size_binary(16) of Arrow
"""

import hashlib
import io
import re
from typing import Any

import numpy as np

UID = np.dtype([("f0", "<u8"), ("f1", "<u8")])
S16 = np.dtype("S16")

_HEX = re.compile("[0-9a-f]{32}")

# Prefix of a source's `uid` whose UIDs differ between files; see `in_file`.
IN_FILE = "file+"

# Whole numbers from here on are not exact as a float64.
_INEXACT = 2**53

# UIDs between those that are in memory, 8 bytes each: 2.7 MB for the 1.4
# billion of DataComp-1B.
STRIDE = 4096


def uid(key: str) -> tuple[int, int]:
  """Return the halves of a key's UID: of its 32 hex digits, or of its hash."""
  if not _HEX.fullmatch(key):
    key = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
  return int(key[:16], 16), int(key[16:], 16)


def number(value: float) -> int | float:
  """Return the number that a float is as a key: 7 for 7.0.

  Raises:
    ValueError: the float may be several whole numbers (2^53), or is none.
  """
  if not abs(value) < _INEXACT:
    raise ValueError(
      f"the key {value!r} is a float of 2^53 or more, which may be the key of "
      "several rows; write keys as integers or text"
    )
  return int(value) if value.is_integer() else value


def in_file(uids: np.ndarray, path: str) -> np.ndarray:
  """Return the UIDs that the keys of UID [N] have as keys of one file.

  The same key has other UIDs in other files. (0, 0), no UID, stays.

  Args:
    uids: UIDs of the keys alone.
    path: path of the file, relative to the folder of all files.
  """
  # No key has the hash of a path, so that keys and paths do not cancel out.
  digest = hashlib.blake2b(
    path.encode(), digest_size=16, person=b"file"
  ).digest()
  high, low = halves(np.frombuffer(digest, S16))
  made = np.empty(len(uids), UID)
  made["f0"], made["f1"] = uids["f0"] ^ high, uids["f1"] ^ low
  is_none = (uids["f0"] == 0) & (uids["f1"] == 0)
  made[is_none] = 0
  return made


def uid_bytes(uid: np.void) -> bytes:
  """Return the 16 bytes, big-endian, of one item of a UID [N]."""
  return int(uid[0]).to_bytes(8) + int(uid[1]).to_bytes(8)


def uid_hex(uid: np.void) -> str:
  """Return the 32 hex digits of one item of a UID [N]."""
  return uid_bytes(uid).hex()


def as_bytes(uids: np.ndarray) -> np.ndarray:
  """Return UIDs as uint8 [N, 16]."""
  if uids.dtype.names:
    halves_N2 = np.stack(halves(uids), axis=1).astype(">u8")
    return halves_N2.view(np.uint8)
  return np.ascontiguousarray(uids).view(np.uint8).reshape(-1, S16.itemsize)


def sortable(uids: np.ndarray) -> np.ndarray:
  """Return UIDs as S16 [N]."""
  return as_bytes(uids).view(S16)[:, 0]


def records(uids: np.ndarray) -> np.ndarray:
  """Return UIDs as UID [N]."""
  made = np.empty(len(uids), UID)
  made["f0"], made["f1"] = halves(uids)
  return made


def halves(uids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the high and low halves of UIDs, uint64 [N] each."""
  if uids.dtype.names:
    high, low = uids.dtype.names
    return uids[high].astype(np.uint64), uids[low].astype(np.uint64)
  words_N2 = as_bytes(uids).view(">u8").astype(np.uint64)
  return words_N2[:, 0], words_N2[:, 1]


def column_bytes(column: Any) -> np.ndarray:
  """Return a pyarrow column of fixed_size_binary(16) as uint8 [N, 16]."""
  # Not by the type's class: workers of training do not import pyarrow.
  chunks = column.chunks if hasattr(column, "chunks") else [column]
  parts = [
    np.frombuffer(x.buffers()[1], np.uint8, 16 * len(x), 16 * x.offset)
    for x in chunks
    if len(x)
  ]
  return np.concatenate([np.zeros(0, np.uint8), *parts]).reshape(-1, 16)


def npy_header(num: int) -> bytes:
  """Return the first bytes of an .npy file of UID [num]."""
  file = io.BytesIO()
  header = {
    "descr": np.lib.format.dtype_to_descr(UID),
    "fortran_order": False,
    "shape": (num,),
  }
  np.lib.format.write_array_header_1_0(file, header)
  return file.getvalue()


def unique(uids: np.ndarray) -> np.ndarray:
  """Return UID [N] sorted, without repetitions."""
  # Two columns of integers sort many times faster than one of pairs.
  high, low = uids["f0"], uids["f1"]
  order = np.argsort(high)
  if (np.diff(high[order]) == 0).any():
    order = np.lexsort((low, high))
  uids = uids[order]
  high, low = uids["f0"], uids["f1"]
  is_new = np.ones(len(uids), bool)
  is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
  return uids if is_new.all() else uids[is_new]


class SortedUids:
  """Sorted UIDs, memory-mapped; a look-up reads a few of them."""

  def __init__(self, uids: np.ndarray, path: str):
    """Look at every STRIDE-th UID.

    Args:
      uids: [N] of a dtype with f0 and f1, ascending; some may be equal.
      path: path of their file, for the ValueError if they are not sorted.
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
    """Return bool [n], which of UID [n] are there."""
    return self.index(uids) >= 0

  def index(self, uids: np.ndarray) -> np.ndarray:
    """Return int64 [n]: where each is, the first of equal ones; -1: nowhere."""
    first = self.first(uids)
    if not len(self._uids):
      return np.full(len(uids), -1)
    there = self._uids[np.minimum(first, len(self._uids) - 1)]
    is_there = (there["f0"] == uids["f0"]) & (there["f1"] == uids["f1"])
    return np.where(is_there, first, -1)

  def first(self, uids: np.ndarray) -> np.ndarray:
    """Return int64 [n]: where each is or would be, the first of equal ones."""
    order = np.argsort(uids["f0"])  # what is read then lies together
    highs, lows = uids["f0"][order], uids["f1"][order]
    # Bounds from the UIDs in memory: the last below, the first above.
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
