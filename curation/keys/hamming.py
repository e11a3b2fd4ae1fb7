"""Pairs of 64-bit hashes that differ in few bits, all of them.

By pigeonhole, in two ways:

- Hashes that differ in at most d bits agree in three of any d + 3 blocks. For
  each three blocks, hashes are sorted by them, and those that agree are
  compared: 20 sorts for d = 3, by 31 to 33 bits. Work hardly grows faster than
  the number of hashes. Used for pairs among themselves up to d = 3.
- Of two such hashes, one of the four bands of 16 bits differs in at most d // 4
  (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012). So a hash is
  compared with those that share a band up to so many bits: the band itself for
  d < 4, 17 bands for d < 8, 137 for d < 12. Work grows with the square of the
  number of hashes: of all pairs of evenly spread ones, 0.006 %, 0.1 % and
  0.8 % are compared.

All that are compared are counted bit by bit, so nothing is missed and nothing
is added.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from runtime import progress

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
    order = np.argsort(hashes, kind="stable")
    self._whole = order, hashes[order]
    # Of each band: places by key, and where a key's begin.
    self._bands = []
    for band in range(_BANDS if max_distance else 0):
      keys = _key(hashes, band)
      starts = np.zeros(_NUM_KEYS + 1, np.int64)
      np.cumsum(np.bincount(keys, minlength=_NUM_KEYS), out=starts[1:])
      self._bands.append((np.argsort(keys, kind="stable"), starts))

  @property
  def num_passes(self) -> int:
    """Return how many times `candidates` goes over the hashes."""
    return _BANDS * len(self._masks) if self._max_distance else 1

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
    for order, first, count in self.candidates(hashes):
      for left, right in expand(first, count, chunk):
        right = order[right]
        distance = np.bitwise_count(hashes[left] ^ self._hashes[right])
        near = distance <= self._max_distance
        if near.any():
          yield left[near], right[near], distance[near]

  def candidates(self, hashes: np.ndarray) -> Iterator[tuple]:
    """Yield, for each pass, which hashes of the index are to be compared.

    Those of hash n are at order[first[n] : first[n] + count[n]].

    Yields:
      (order, first, count)
    """
    if not self._max_distance:
      order, ordered = self._whole
      first = np.searchsorted(ordered, hashes)
      yield order, first, np.searchsorted(ordered, hashes, "right") - first
      return
    for band, mask in itertools.product(range(_BANDS), self._masks):
      order, starts = self._bands[band]
      keys = _key(hashes, band) ^ mask
      yield order, starts[keys], starts[keys + 1] - starts[keys]

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
  for i, j in _candidate_pairs(hashes, max_distance):
    near = np.bitwise_count(hashes[i] ^ hashes[j]) <= max_distance
    i, j = i[near], j[near]
    found.append(np.minimum(i, j) * len(hashes) + np.maximum(i, j))
    if sum(map(len, found[1:])) > _CHUNK:
      found = [np.unique(np.concatenate(found))]
  packed = np.unique(np.concatenate(found))
  return np.divmod(packed, len(hashes)) if len(packed) else (packed, packed)


def _candidate_pairs(
  hashes: np.ndarray, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yield pairs of places, no place with itself; one may come several times."""
  check_distance(max_distance, "max_distance")
  if max_distance >= _BANDS:
    index = Index(hashes, max_distance)
    with progress.Progress("Bands of hashes", index.num_passes) as bar:
      for order, first, count in index.candidates(hashes):
        for i, place in expand(first, count, _CHUNK):
          j = order[place]
          # Each pair is met from both of its sides.
          yield i[i < j], j[i < j]
        bar.advance()
    return
  masks = _block_masks(max_distance + 3)
  with progress.Progress("Blocks of hashes", len(masks)) as bar:
    for mask in masks:
      keys = hashes & mask
      order = np.argsort(keys, kind="stable")
      keys = keys[order]
      # Each with those behind it that have the same key.
      place = np.arange(len(keys))
      end = np.searchsorted(keys, keys, side="right")
      for left, right in expand(place + 1, end - place - 1, _CHUNK):
        yield order[left], order[right]
      bar.advance()


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


def _block_masks(num_blocks: int) -> list[np.uint64]:
  """Return masks of each three of so many blocks of 64 bits."""
  edges = [64 * block // num_blocks for block in range(num_blocks + 1)]
  blocks = [
    (1 << stop) - (1 << start)
    for start, stop in zip(edges[:-1], edges[1:], strict=True)
  ]
  return [np.uint64(sum(three)) for three in itertools.combinations(blocks, 3)]


def _masks(radius: int) -> list[int]:
  """Return all 16-bit masks of at most `radius` bits."""
  return [
    sum(1 << bit for bit in bits)
    for size in range(radius + 1)
    for bits in itertools.combinations(range(_BAND_BITS), size)
  ]
