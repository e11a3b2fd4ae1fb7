"""A Bloom filter of 64-bit keys: a set in few bits, with some keys too many.

Bloom, "Space/time trade-offs in hash coding with allowable errors" (CACM 13,
1970), with its bits at h1 + i * h2, which is as good (Kirsch and Mitzenmacher,
"Less hashing, same performance: building a better Bloom filter", ESA 2006).
"""

import math
import pathlib

import numpy as np

from curation.keys import hashing


def size(num_keys: int, false_positive_rate: float) -> tuple[int, int]:
  """Return how many bits, and how many are set for a key.

  The least bits for the rate: ln(1 / rate) / ln(2)**2 a key, 9.6 at 1 % and
  14.4 at 0.1 %. Rounded up to whole words.
  """
  wanted = max(num_keys, 1) * -math.log(false_positive_rate) / math.log(2) ** 2
  bits = -(-math.ceil(wanted) // 64) * 64
  probes = max(1, round(-math.log2(false_positive_rate)))
  return bits, probes


class Bloom:
  """A set of uint64 keys; never says no of a key that was added."""

  def __init__(self, words: np.ndarray, num_probes: int) -> None:
    """Take the filter's bits, uint64 words, as they are: it is not copied."""
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
    found = np.zeros(len(keys), bool)
    # Places of the keys that may still be there.
    left = np.arange(len(keys))
    for number in range(self._num_probes):
      bits = self._probe(keys[left], number)
      word = self._words[bits >> np.uint64(6)]
      is_set = (word >> (bits & np.uint64(63))) & np.uint64(1)
      left = left[is_set.astype(bool)]
    found[left] = True
    return found

  def save(self, path: pathlib.Path) -> None:
    """Write it as a .npy file."""
    header = np.array([self._num_probes], np.uint64)
    with open(path, "wb") as file:
      np.save(file, np.concatenate([header, self._words]), allow_pickle=False)

  def _probes(self, keys: np.ndarray):
    for number in range(self._num_probes):
      yield self._probe(keys, number)

  def _probe(self, keys: np.ndarray, number: int) -> np.ndarray:
    """Return which bit is that of each key, uint64 [N]."""
    step = hashing.mix(keys ^ _STEP) | np.uint64(1)
    return (keys + np.uint64(number) * step) % self._num_bits


def make(num_keys: int, false_positive_rate: float) -> Bloom:
  """Return an empty filter, for as many keys."""
  bits, probes = size(num_keys, false_positive_rate)
  return Bloom(np.zeros(bits // 64, np.uint64), probes)


def load(path: pathlib.Path) -> Bloom:
  """Return the filter of a file, mapped into memory, read-only."""
  data = np.load(path, mmap_mode="r", allow_pickle=False)
  return Bloom(np.asarray(data[1:]), int(data[0]))


# So that the step of a key has nothing to do with where it starts.
_STEP = np.uint64(0xA0761D6478BD642F)
