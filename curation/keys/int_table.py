"""Exact map from 64-bit keys to numbers, looked up for arrays of keys."""

import dataclasses

import numpy as np

# Odd factors without other structure: the golden ratio of 2^64 (Knuth, The Art
# of Computer Programming, volume 3, section 6.4) and SplitMix64's first factor
# (see hashing.py).
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_HALF = np.uint64(32)
# Lowest number of slots for a key: below two, cuckoo hashing with two slots
# fails (Pagh and Rodler, "Cuckoo hashing", Journal of Algorithms 51, 2004).
_SLOTS_PER_KEY = 2.5


@dataclasses.dataclass(frozen=True)
class IntTable:
  """Cuckoo table: a key is in one of its two slots, or not stored.

  Every look-up takes the same steps, so arrays of keys need no branches.

  Attributes:
    keys: uint64 [size], size a power of two.
    values: uint32 [size], 0 for an empty slot.
  """

  keys: np.ndarray
  values: np.ndarray

  def find(self, keys: np.ndarray) -> np.ndarray:
    """Return the value of each key, 0 for an unknown one: uint32 [N]."""
    mixed = _mixed(keys)
    values = np.zeros(len(keys), np.uint32)
    for multiplier in _MULTIPLIERS:
      slots = _slots(mixed, multiplier, len(self.keys))
      value = self.values.take(slots)
      value *= self.keys.take(slots) == keys
      values |= value
    return values


def make(keys: np.ndarray, values: np.ndarray) -> IntTable:
  """Return the table of distinct keys, uint64 [N], and values of at least 1."""
  size = 1 << max(4, int(_SLOTS_PER_KEY * len(keys)).bit_length())
  while (owners := _owners(keys, size)) is None:
    size *= 2
  table = IntTable(np.zeros(size, np.uint64), np.zeros(size, np.uint32))
  used = np.flatnonzero(owners >= 0)
  table.keys[used] = keys[owners[used]]
  table.values[used] = values[owners[used]]
  return table


def _owners(keys: np.ndarray, size: int) -> np.ndarray | None:
  """Return the index of the key in each slot, -1 for none; None if stuck."""
  mixed = _mixed(keys)
  choices = np.stack([_slots(mixed, m, size) for m in _MULTIPLIERS])
  owners = np.full(size, -1, np.int64)
  side = np.zeros(len(keys), np.int64)
  todo = np.arange(len(keys))
  for _ in range(1000):
    if not len(todo):
      return owners
    slots = choices[side[todo], todo]
    before = owners[slots]
    # The last key written to a slot gets it; the others, and the previous
    # owner, try their other slot.
    owners[slots] = todo
    todo = np.unique(np.r_[todo[owners[slots] != todo], before[before >= 0]])
    side[todo] ^= 1
  return None


def _mixed(keys: np.ndarray) -> np.ndarray:
  mixed = keys >> _HALF
  mixed ^= keys
  return mixed


def _slots(mixed: np.ndarray, multiplier: np.uint64, size: int) -> np.ndarray:
  slots = mixed * multiplier
  slots >>= np.uint64(65 - size.bit_length())
  return slots.view(np.int64)
