"""Bloom filter of 64-bit keys: a set in few bits, with false positives.

Bloom, "Space/time trade-offs in hash coding with allowable errors" (CACM 13,
1970), with its bits at h1 + i * h2, which is as good (Kirsch and Mitzenmacher,
"Less hashing, same performance: building a better Bloom filter", ESA 2006).
"""

import math
import pathlib

import numpy as np

from curation.keys import hashing


def size(num_keys: int, false_positive_rate: float) -> tuple[int, int]:
  """Return the number of bits, and the number of bits set for a key.

  The least for the rate is ln(1 / rate) / ln(2)**2 bits a key, 9.6 at 1 % and
  14.4 at 0.1 %; it is rounded up to whole words of 64 bits.
  """
  wanted = max(num_keys, 1) * -math.log(false_positive_rate) / math.log(2) ** 2
  bits = -(-math.ceil(wanted) // 64) * 64
  probes = max(1, round(-math.log2(false_positive_rate)))
  return bits, probes


class Bloom:
  """Set of uint64 keys with false positives and no false negatives."""

  def __init__(self, words: np.ndarray, num_probes: int) -> None:
    """Use the bits in `words`, uint64, without a copy."""
    self._words = words
    self._num_bits = np.uint64(64 * len(words))
    self._num_probes = num_probes

  def add(self, keys: np.ndarray) -> None:
    """Add keys, uint64 [N]."""
    for bits in self._probes(keys):
      mask = np.uint64(1) << (bits & np.uint64(63))
      np.bitwise_or.at(self._words, bits >> np.uint64(6), mask)

  def contains(self, keys: np.ndarray) -> np.ndarray:
    """Return a bool [N]: False only for keys that were not added."""
    is_in = np.zeros(len(keys), bool)
    # Indices of the keys whose bits were all set so far.
    left = np.arange(len(keys))
    for number in range(self._num_probes):
      bits = self._probe(keys[left], number)
      word = self._words[bits >> np.uint64(6)]
      is_set = (word >> (bits & np.uint64(63))) & np.uint64(1)
      left = left[is_set.astype(bool)]
    is_in[left] = True
    return is_in

  def save(self, path: pathlib.Path) -> None:
    """Write the filter as a .npy file."""
    header = np.array([self._num_probes], np.uint64)
    with open(path, "wb") as file:
      np.save(file, np.concatenate([header, self._words]), allow_pickle=False)

  def _probes(self, keys: np.ndarray):
    for number in range(self._num_probes):
      yield self._probe(keys, number)

  def _probe(self, keys: np.ndarray, number: int) -> np.ndarray:
    """Return the bit of each key for this probe, uint64 [N]."""
    step = hashing.mix(keys ^ _STEP) | np.uint64(1)
    return (keys + np.uint64(number) * step) % self._num_bits


def make(num_keys: int, false_positive_rate: float) -> Bloom:
  """Return an empty filter for `num_keys` keys."""
  bits, probes = size(num_keys, false_positive_rate)
  return Bloom(np.zeros(bits // 64, np.uint64), probes)


def load(path: pathlib.Path) -> Bloom:
  """Return the filter of a file, mapped into memory, read-only."""
  data = np.load(path, mmap_mode="r", allow_pickle=False)
  return Bloom(np.asarray(data[1:]), int(data[0]))


# Constant that makes the step of a key independent of its first bit.
_STEP = np.uint64(0xA0761D6478BD642F)
