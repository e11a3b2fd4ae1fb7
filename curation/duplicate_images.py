"""Operators on perceptual hashes: make them, and drop images that share one."""

import bisect
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import by_uid, hamming, hashing, operators, phash
from input_pipeline import faults

# Pairs of one bucket of hashes, in memory at once: some 100 bytes each.
_BUCKET_PAIRS = 1 << 22
# Hashes are sorted by their product with this odd number, modulo 2^64 (2^64
# divided by the golden ratio: Knuth, volume 3, section 6.4), so that buckets
# are ranges of equal size: a DCT hash itself nearly always begins with a 1.
_SPREAD = 0x9E3779B97F4A7C15
_UNSPREAD = pow(_SPREAD, -1, 2**64)
_HASHES, _SPREADS = "hashes.npy", "spreads.npy"
# A pair of a shard, and a hash of a bucket with the pair that stays of it.
_PAIR = np.dtype([("spread", "<u8"), ("uid", by_uid.UID)])
_HASH = np.dtype(
  [
    *(("spread", "<u8"), ("winner", by_uid.UID), ("priority", "<u8")),
    *(("num_pairs", "<i8"), ("stays", "?")),
  ]
)


@dataclasses.dataclass(frozen=True)
class PerceptualHash(operators.Filter):
  """Hash images (curation/phash.py); drop what cannot be decoded.

  Attributes:
    signal: name of the column of hashes, uint64.
  """

  signal: str

  @property
  def columns(self) -> tuple[str, ...]:
    return ("image",)

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal,)

  def open(self, place: operators.Place) -> operators.DecideFn:
    del place
    return self._decide

  def _decide(self, table: pa.Table) -> operators.Verdict:
    grey_NYX = np.zeros((len(table), phash.SIDE, phash.SIDE), np.uint8)
    keep = np.ones(len(table), bool)
    for n, image in enumerate(table["image"]):
      try:
        grey_NYX[n] = phash.grey(image.as_py() or b"")
      except faults.ExampleError:
        keep[n] = False
    hashes = pa.array(phash.hashes(grey_NYX), mask=~keep)
    return operators.Verdict(keep, {self.signal: hashes})


@dataclasses.dataclass(frozen=True)
class DuplicateImages(operators.Reduction):
  """Keep one of the images whose hashes are equal, or near.

  Of equal hashes stays the pair with the lowest hash of its uid. Of hashes
  that are near, in the order of those lowest hashes, each stays that is not
  near one that stays (curation/hamming.py): so a dropped image is within
  `max_distance` of one that is kept, and no two that are kept are.

  Equal hashes are grouped bucket by bucket in workers, in constant memory.
  Near ones are found among all different hashes at once, with 40 bytes for
  each and work that grows with their square: 0.006 % of all pairs up to a
  distance of 3, 0.8 % up to 11.

  Attributes:
    column: of 64-bit hashes (uint64), as `phash` makes them.
    max_distance: bits in which hashes may differ: 0 (COYO-700M), or up to 11;
      imagededup's default is 10.
    seed: of who stays.
  """

  column: str
  max_distance: int
  seed: int

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  @property
  def measured(self) -> tuple[str, ...]:
    return (self.column,)

  def check(self, field: str) -> None:
    hamming.check_distance(self.max_distance, f"{field}.max_distance")

  def measure(self, place: operators.Place) -> "_Hashes":
    del place
    return _Hashes(self.column)

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    place: operators.Place,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    assert place.state is not None
    total = sum(len(np.load(part, mmap_mode="r")) for part in parts)
    num_buckets = max(1, -(-total // _BUCKET_PAIRS))
    bounds = [2**64 * n // num_buckets for n in range(num_buckets + 1)]
    # Many small files become fewer large ones, of which each bucket is a part.
    merged = _merge_parts(parts, place.state, run)
    fn = functools.partial(_group, merged, place.state, self)
    counts = run(fn, list(enumerate(zip(bounds[:-1], bounds[1:], strict=True))))
    for path in merged:
      path.unlink()
    num_left = sum(left for _, left in counts)
    hashes = _new(place.state / _HASHES, _HASH, num_left)
    # Apart, as workers search in it without reading the rest.
    spreads = _new(place.state / _SPREADS, np.dtype("<u8"), num_left)
    start = 0
    for number, (_, left) in enumerate(counts):
      path = _bucket_path(place.state, number)
      hashes[start : start + left] = np.load(path)
      spreads[start : start + left] = hashes[start : start + left]["spread"]
      start += left
      path.unlink()
    if self.max_distance:
      hashes["stays"] = _greedy(hashes, self.max_distance)
    hashes.flush()
    spreads.flush()
    return {
      "num_pairs": total,
      "num_hashes": sum(num_hashes for num_hashes, _ in counts),
      "num_near_hashes": int((~hashes["stays"]).sum()),
    }

  def open(self, place: operators.Place) -> operators.DecideFn:
    assert place.state is not None
    hashes = np.load(place.state / _HASHES, mmap_mode="r").view(np.ndarray)
    spreads = np.load(place.state / _SPREADS, mmap_mode="r").view(np.ndarray)

    def decide(table: pa.Table) -> operators.Verdict:
      keep = np.ones(len(table), bool)
      if len(hashes):
        spread = _spread(read_hashes(table, self.column))
        found = np.searchsorted(spreads, spread)
        found = np.minimum(found, len(hashes) - 1)
        own = hashes[found]
        wins = (own["winner"] == by_uid.of(table)) & own["stays"]
        keep = (own["spread"] != spread) | wins
      return operators.Verdict(keep)

    return decide


class _Hashes:
  """What a shard contributes: spread hashes and UIDs, sorted."""

  def __init__(self, column: str):
    self._column = column
    self._parts = [np.empty(0, _PAIR)]

  def add(self, table: pa.Table) -> None:
    part = np.empty(len(table), _PAIR)
    part["spread"] = _spread(read_hashes(table, self._column))
    part["uid"] = by_uid.of(table)
    self._parts.append(part)

  def save(self, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
      pairs = _sorted(np.concatenate(self._parts))
      np.save(file, pairs, allow_pickle=False)


def read_hashes(table: pa.Table, column: str) -> np.ndarray:
  """Return a column of 64-bit hashes as uint64 [N].

  Raises:
    ValueError: it holds something else.
  """
  values = table[column]
  if values.type != pa.uint64() or values.null_count:
    raise ValueError(
      f"{column} must hold a hash of every pair, uint64; got {values.type}"
      f" with {values.null_count} nulls"
    )
  return values.to_numpy()


def _merge_parts(
  parts: Sequence[pathlib.Path], folder: pathlib.Path, run: operators.RunFn
) -> list[pathlib.Path]:
  """Return files of about _BUCKET_PAIRS sorted pairs each."""
  groups: list[list[pathlib.Path]] = [[]]
  size = 0
  for part in parts:
    size += len(np.load(part, mmap_mode="r"))
    if groups[-1] and size > _BUCKET_PAIRS:
      groups.append([])
      size = 0
    groups[-1].append(part)
  return list(run(functools.partial(_merge, folder), list(enumerate(groups))))


def _merge(
  folder: pathlib.Path, item: tuple[int, Sequence[pathlib.Path]]
) -> pathlib.Path:
  number, parts = item
  pairs = [np.empty(0, _PAIR), *map(np.load, parts)]
  path = folder / f"run-{number:05d}.npy"
  np.save(path, _sorted(np.concatenate(pairs)), allow_pickle=False)
  return path


def _sorted(pairs: np.ndarray) -> np.ndarray:
  return pairs[np.lexsort((pairs["uid"], pairs["spread"]))]


def _group(
  runs: Sequence[pathlib.Path],
  folder: pathlib.Path,
  step: DuplicateImages,
  item: tuple[int, tuple[int, int]],
) -> tuple[int, int]:
  """Write the hashes of a bucket; return how many there are, and are written.

  Where only equal hashes count, those of a single pair are not written.
  """
  number, (low, high) = item
  found = []
  for path in runs:
    pairs = np.load(path, mmap_mode="r")
    # Not np.searchsorted, which would copy the field of all pairs.
    start = bisect.bisect_left(pairs["spread"], low)
    stop = bisect.bisect_right(pairs["spread"], high - 1)
    found.append(np.array(pairs[start:stop]))
  pairs = np.concatenate([np.empty(0, _PAIR), *found])
  priority = hashing.h64(by_uid.as_bytes(pairs["uid"]), step.seed)
  order = np.lexsort((pairs["uid"], priority, pairs["spread"]))
  pairs, priority = pairs[order], priority[order]
  spread, first, count = np.unique(
    pairs["spread"], return_index=True, return_counts=True
  )
  hashes = np.empty(len(spread), _HASH)
  hashes["spread"], hashes["num_pairs"] = spread, count
  hashes["winner"], hashes["priority"] = pairs["uid"][first], priority[first]
  hashes["stays"] = True
  if not step.max_distance:
    hashes = hashes[count > 1]
  np.save(_bucket_path(folder, number), hashes, allow_pickle=False)
  return len(spread), len(hashes)


def _greedy(hashes: np.ndarray, max_distance: int) -> np.ndarray:
  """Return which hashes stay, bool; see DuplicateImages."""
  # Equal priorities, of different uids, in the order of the uids.
  order = np.lexsort((hashes["winner"], hashes["priority"]))
  rank = np.empty(len(order), np.int64)
  rank[order] = np.arange(len(order))
  plain = np.asarray(hashes["spread"]) * np.uint64(_UNSPREAD)
  first, second = hamming.near_pairs(plain, max_distance)
  return hamming.kept(first, second, rank)


def _spread(hashes: np.ndarray) -> np.ndarray:
  return hashes * np.uint64(_SPREAD)


def _new(path: pathlib.Path, dtype: np.dtype, num_rows: int) -> np.memmap:
  return np.lib.format.open_memmap(
    path, mode="w+", dtype=dtype, shape=(num_rows,)
  )


def _bucket_path(folder: pathlib.Path, number: int) -> pathlib.Path:
  return folder / f"bucket-{number:05d}.npy"
