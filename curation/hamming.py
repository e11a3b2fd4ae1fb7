"""Pairs of 64-bit hashes that differ in few bits, all of them.

Pigeonhole (multi-index hashing, Norouzi, Punjani and Fleet, CVPR 2012): of two
hashes that differ in at most d bits, one of their four bands of 16 bits differs
in at most d // 4. So each hash is compared only with those that share a band
up to so many bits: the band itself for d < 4, 17 bands for d < 8, 137 for
d < 12. Every pair is then counted bit by bit, so nothing is missed and nothing
is added.

Work grows with the square of the number of hashes: of N evenly spread ones,
4 * 137 / 65536 = 0.8 % of all pairs are compared for d = 10, and 0.006 % for
d = 3.
"""

import itertools
from collections.abc import Iterator

import numpy as np

MAX_DISTANCE = 11
# Of what is near nothing.
FAR = 255
_BANDS = 4
_BAND_BITS = 16
_NUM_KEYS = 1 << _BAND_BITS
# Comparisons at once: some 100 MB.
_CHUNK = 1 << 22


def check_distance(distance: int, field: str) -> None:
  """Raise ValueError, naming `field`, for a distance that is not supported."""
  if not 0 <= distance <= MAX_DISTANCE:
    raise ValueError(
      f"{field} must be 0 to {MAX_DISTANCE} bits; got {distance}"
    )


class Index:
  """Hashes that others can be looked up in."""

  def __init__(self, hashes: np.ndarray, max_distance: int):
    """Sort uint64 [R]; `max_distance` as in `check_distance`."""
    check_distance(max_distance, "max_distance")
    self._hashes = hashes
    self._max_distance = max_distance
    self._masks = _masks(max_distance // _BANDS)
    # Of each band: places by key, and where a key's begin.
    self._bands = []
    for band in range(_BANDS):
      keys = _key(hashes, band)
      starts = np.zeros(_NUM_KEYS + 1, np.int64)
      np.cumsum(np.bincount(keys, minlength=_NUM_KEYS), out=starts[1:])
      self._bands.append((np.argsort(keys, kind="stable"), starts))

  def pairs(
    self, hashes: np.ndarray, *, chunk: int = _CHUNK
  ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield all pairs that are near, in parts; one may come several times.

    Args:
      hashes: uint64 [N].
      chunk: comparisons at once, at most beside those of one hash.

    Yields:
      (places in `hashes`, places in the index, uint8 bits that differ).
    """
    for band, mask in itertools.product(range(_BANDS), self._masks):
      order, starts = self._bands[band]
      keys = _key(hashes, band) ^ mask
      first, count = starts[keys], starts[keys + 1] - starts[keys]
      for left, right in expand(first, count, chunk):
        right = order[right]
        distance = np.bitwise_count(hashes[left] ^ self._hashes[right])
        near = distance <= self._max_distance
        if near.any():
          yield left[near], right[near], distance[near]

  def nearest(self, hashes: np.ndarray) -> np.ndarray:
    """Return uint8 [N]: bits to the nearest hash, FAR where none is near."""
    best = np.full(len(hashes), FAR, np.uint8)
    for left, _, distance in self.pairs(hashes):
      np.minimum.at(best, left, distance)
    return best


def near_pairs(
  hashes: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return the pairs of places (i < j) that are near, each once, sorted."""
  found = [np.empty(0, np.int64)]
  for i, j, _ in Index(hashes, max_distance).pairs(hashes):
    # Each pair is met from both of its sides.
    packed = np.unique((i * len(hashes) + j)[i < j])
    found.append(packed)
    if len(found) > 64:
      found = [np.unique(np.concatenate(found))]
  packed = np.unique(np.concatenate(found))
  return np.divmod(packed, len(hashes)) if len(packed) else (packed, packed)


def kept(
  first: np.ndarray, second: np.ndarray, priority: np.ndarray
) -> np.ndarray:
  """Return what is left of N things when no two that are a pair may stay.

  Things are taken in the order of their priority, lowest first (equal ones by
  place); each that is no pair with one taken before is taken. So whatever is
  dropped is near something that stays, and chains of pairs do not make all of
  their ends fall together.

  Args:
    first, second: places of the pairs.
    priority: [N].

  Returns:
    bool [N].
  """
  rank = np.empty(len(priority), np.int64)
  rank[np.argsort(priority, kind="stable")] = np.arange(len(priority))
  stays = np.ones(len(priority), bool)
  winner = np.where(rank[first] < rank[second], first, second)
  loser = first + second - winner
  # All whose stronger neighbours are gone stay; all beside these go. Each
  # round settles at least the strongest of each connected part.
  while len(winner):
    beaten = np.zeros(len(priority), bool)
    beaten[loser] = True
    gone = loser[~beaten[winner]]
    stays[gone] = False
    left = beaten[winner] & stays[winner] & stays[loser]
    winner, loser = winner[left], loser[left]
  return stays


def expand(
  first: np.ndarray, count: np.ndarray, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yield (i, first[i] + 0 ... count[i] - 1), about `chunk` of them at once.

  Args:
    first, count: int64 [N].
    chunk: at most so many, save where one `count` is larger.
  """
  ends = np.cumsum(count)
  start = 0
  while start < len(count):
    done = ends[start - 1] if start else 0
    stop = int(np.searchsorted(ends, done + chunk, side="right"))
    stop = max(stop, start + 1)
    part = count[start:stop]
    total = int(part.sum())
    if total:
      left = np.repeat(np.arange(start, stop), part)
      offset = np.arange(total) - np.repeat(np.cumsum(part) - part, part)
      yield left, first[left] + offset
    start = stop


def _key(hashes: np.ndarray, band: int) -> np.ndarray:
  shift = np.uint64(band * _BAND_BITS)
  return (hashes >> shift).astype(np.int64) & (_NUM_KEYS - 1)


def _masks(radius: int) -> list[int]:
  """Return all 16-bit masks of at most `radius` bits."""
  return [
    sum(1 << bit for bit in bits)
    for size in range(radius + 1)
    for bits in itertools.combinations(range(_BAND_BITS), size)
  ]
