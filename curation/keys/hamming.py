"""Pairs of 64-bit hashes that differ in few bits, all of them.

Two uses of the pigeonhole principle select the pairs to compare:

- Hashes that differ in at most d bits agree in three of any d + 3 blocks. For
  each three blocks, hashes are sorted by them, and those that agree are
  compared: 20 sorts for d = 3, by 31 to 33 bits. Work hardly grows faster than
  the number of hashes. Used for pairs within one set up to d = 3.
- Two such hashes differ in at most d // 4 bits in one of their four bands of 16
  bits (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012). A hash is
  compared with those whose band equals its own up to d // 4 bits: 1 value of
  the band for d < 4, 17 for d < 8, 137 for d < 12. Work grows with the square
  of the number of hashes: 0.006 %, 0.1 % and 0.8 % of all pairs of evenly
  spread hashes are compared.

The bits of every selected pair are counted, so the result is exact.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from runtime import checks, progress

MAX_DISTANCE = 11
# Distance of a hash that is near no other.
FAR = 255
_BANDS = 4
_BAND_BITS = 16
_NUM_KEYS = 1 << _BAND_BITS
# Comparisons at once: some 100 MB.
_CHUNK = 1 << 22


def check_distance(distance: int, field: str) -> None:
  """Raise ValueError, naming `field`, for a distance that is not supported."""
  checks.between(field, distance, 0, MAX_DISTANCE)


class Index:
  """Set of hashes in which near ones are looked up."""

  def __init__(self, hashes: np.ndarray, max_distance: int):
    """Sort uint64 [R]; `max_distance` as in `check_distance`."""
    check_distance(max_distance, "max_distance")
    self._hashes = hashes
    self._max_distance = max_distance
    self._masks = _masks(max_distance // _BANDS)
    order = np.argsort(hashes, kind="stable")
    self._whole = order, hashes[order]
    # For each band: indices sorted by key, and the start of each key's.
    self._bands = []
    for band in range(_BANDS if max_distance else 0):
      keys = _key(hashes, band)
      starts = np.zeros(_NUM_KEYS + 1, np.int64)
      np.cumsum(np.bincount(keys, minlength=_NUM_KEYS), out=starts[1:])
      self._bands.append((np.argsort(keys, kind="stable"), starts))

  @property
  def num_passes(self) -> int:
    """Return the number of items that `candidates` yields."""
    return _BANDS * len(self._masks) if self._max_distance else 1

  def pairs(
    self, hashes: np.ndarray, *, chunk: int = _CHUNK
  ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield all near pairs, in parts; a pair may be repeated.

    Args:
      hashes: uint64 [N].
      chunk: highest number of comparisons at once, unless one hash has more.

    Yields:
      (indices in `hashes`, indices in this index, uint8 bits that differ).
    """
    for order, first, count in self.candidates(hashes):
      for left, right in expand(first, count, chunk):
        right = order[right]
        distance = np.bitwise_count(hashes[left] ^ self._hashes[right])
        near = distance <= self._max_distance
        if near.any():
          yield left[near], right[near], distance[near]

  def candidates(self, hashes: np.ndarray) -> Iterator[tuple]:
    """Yield, for each pass, the hashes of this index to compare with.

    Yields:
      (order, first, count): hash n is compared with those at
      order[first[n] : first[n] + count[n]].
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
    """Return the distance to the nearest hash, uint8 [N]; FAR without one."""
    best = np.full(len(hashes), FAR, np.uint8)
    for left, _, distance in self.pairs(hashes):
      np.minimum.at(best, left, distance)
    return best


def near_pairs(
  hashes: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return the indices (i < j) of near pairs, sorted, without repeats."""
  parts = [np.empty(0, np.int64)]
  for i, j in _candidate_pairs(hashes, max_distance):
    near = np.bitwise_count(hashes[i] ^ hashes[j]) <= max_distance
    i, j = i[near], j[near]
    parts.append(np.minimum(i, j) * len(hashes) + np.maximum(i, j))
    if sum(map(len, parts[1:])) > _CHUNK:
      parts = [np.unique(np.concatenate(parts))]
  packed = np.unique(np.concatenate(parts))
  return np.divmod(packed, len(hashes)) if len(packed) else (packed, packed)


def _candidate_pairs(
  hashes: np.ndarray, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yield indices of pairs to compare, none with itself; maybe repeated."""
  check_distance(max_distance, "max_distance")
  if max_distance >= _BANDS:
    index = Index(hashes, max_distance)
    with progress.Progress("Bands of hashes", index.num_passes) as bar:
      for order, first, count in index.candidates(hashes):
        for i, position in expand(first, count, _CHUNK):
          j = order[position]
          # Each pair occurs as (i, j) and as (j, i).
          yield i[i < j], j[i < j]
        bar.advance()
    return
  masks = _block_masks(max_distance + 3)
  with progress.Progress("Blocks of hashes", len(masks)) as bar:
    for mask in masks:
      keys = hashes & mask
      order = np.argsort(keys, kind="stable")
      keys = keys[order]
      # Each hash is paired with later ones that have the same key.
      after = np.arange(1, len(keys) + 1)
      end = np.searchsorted(keys, keys, side="right")
      for left, right in expand(after, end - after, _CHUNK):
        yield order[left], order[right]
      bar.advance()


def kept(
  first: np.ndarray, second: np.ndarray, priority: np.ndarray
) -> np.ndarray:
  """Return which of N items stay so that no two of them are a pair.

  Items are visited by priority, lowest first (ties by index); an item stays
  unless it is paired with one that stays. So each dropped item is near one that
  stays, and a chain of pairs does not collapse into one item.

  Args:
    first: int64 [P], index of one item of each pair.
    second: int64 [P], index of the other.
    priority: number for each item, [N].

  Returns:
    bool [N].
  """
  rank = np.empty(len(priority), np.int64)
  rank[np.argsort(priority, kind="stable")] = np.arange(len(priority))
  stays = np.ones(len(priority), bool)
  winner = np.where(rank[first] < rank[second], first, second)
  loser = first + second - winner
  # Items without a stronger neighbour stay, and their neighbours go. Each round
  # settles at least the strongest item of each connected part.
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
    first: int64 [N].
    count: int64 [N].
    chunk: highest number at once, unless one `count` is larger.
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
  """Return the mask of each three of `num_blocks` blocks of 64 bits."""
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
