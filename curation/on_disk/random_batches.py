"""Random batches over all pairs of a pool, whatever its shards are.

The order is that of hashes of the UIDs, so it depends on the pairs and a seed
alone. Pairs are sorted on disk, bucket by bucket; a bucket's embeddings are
read shard by shard, in memory all at once.

A pool of N pairs is cut into the least number of batches of at most the size
that is asked for; sizes differ by at most one, so no batch is a small rest.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from curation import pool
from curation.keys import hashing
from curation.on_disk import embedding_store
from input_pipeline.sources import record

# A pair that came to a step.
ROW = np.dtype([("uid", record.UID), ("row", "<i8")])
# Where a pair is: number of its part, and place in it.
_PLACE = np.dtype([("hash", "<u8"), ("part", "<u4"), ("place", "<u4")])
# Pairs whose embeddings are in memory: a gigabyte of two of 512 numbers.
BUCKET = 1 << 19
# Pairs whose hashes are sorted in memory.
_BUFFER = 1 << 22


class Measure:
  """Which pairs of a shard came to a step."""

  def __init__(self) -> None:
    self._found = [np.zeros(0, ROW)]

  def add(self, table: pa.Table) -> None:
    found = np.zeros(len(table), ROW)
    found["uid"] = pool.uids(table)
    found["row"] = table["row"].to_numpy()
    self._found.append(found)

  def save(self, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
      np.save(file, np.concatenate(self._found), allow_pickle=False)


@dataclasses.dataclass(frozen=True)
class Batch:
  """Pairs that were drawn together.

  Attributes:
    part: uint32 [N], number of each pair's shard.
    place: uint32 [N], number of the pair in the shard's part.
    zimg: float16 [N, E].
    ztxt: float16 [N, E].
  """

  part: np.ndarray
  place: np.ndarray
  zimg: np.ndarray
  ztxt: np.ndarray


@dataclasses.dataclass(frozen=True)
class Batches:
  """The pairs of all parts.

  Attributes:
    parts: what Measure saved, sorted by name.
    store: has the embeddings of all of them.
    scratch: folder for buckets; they are removed again.
  """

  parts: tuple[pathlib.Path, ...]
  store: embedding_store.Store
  scratch: pathlib.Path

  def __len__(self) -> int:
    """Return the number of pairs."""
    return sum(map(len, map(self.rows, range(len(self.parts)))))

  def rows(self, part: int) -> np.ndarray:
    """Return a part, ROW [N]; a memory map."""
    return load(self.parts[part])

  def sizes(self, size: int) -> np.ndarray:
    """Return the sizes of batches of at most `size`, int64."""
    num_pairs = len(self)
    num_batches = -(-num_pairs // size)
    ends = np.arange(1, num_batches + 1) * num_pairs // max(num_batches, 1)
    return np.diff(ends, prepend=0)

  def draw(self, size: int, seed: int) -> Iterator[Batch]:
    """Yield all pairs in batches of at most `size`, in an order of the seed."""
    left: list[tuple[np.ndarray, ...]] = []
    due = iter(self.sizes(size).tolist())
    wanted = next(due, 0)
    for places in self._buckets(seed):
      places = places[np.argsort(places["hash"], kind="stable")]
      left.append((places, *self._embeddings(places)))
      num_left = sum(len(found) for found, _, _ in left)
      if num_left < wanted:
        continue
      found, zimg, ztxt = (
        np.concatenate(arrays) for arrays in zip(*left, strict=True)
      )
      start = 0
      while wanted and num_left - start >= wanted:
        rows = slice(start, start + wanted)
        part, place = found["part"][rows], found["place"][rows]
        yield Batch(part, place, zimg[rows], ztxt[rows])
        start += wanted
        wanted = next(due, 0)
      left = [(found[start:], zimg[start:], ztxt[start:])]

  def sample(
    self, share: float, seed: int, path: pathlib.Path
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return image embeddings of about a share of the pairs, and hashes.

    Args:
      share: 1 for all.
      seed: of the hashes, the lowest of which are taken.
      path: of the .npy file of the embeddings.

    Returns:
      (float16 [N, E], a memory map; uint64 [N].)

    Raises:
      ValueError: there are no pairs.
    """
    hashes, chosen = [], []
    for number in range(len(self.parts)):
      uids = self.rows(number)["uid"]
      chosen.append(np.flatnonzero(hashing.uniform(uids, seed) < share))
      hashes.append(hashing.h64(uids[chosen[-1]], seed))
    hash_N = np.concatenate([np.zeros(0, np.uint64), *hashes])
    z_NE, start = None, 0
    for number, places in enumerate(chosen):
      if not len(places):
        continue
      zimg = self._records(number, places)["zimg"]
      if z_NE is None:
        z_NE = np.lib.format.open_memmap(
          path, "w+", np.float16, (len(hash_N), zimg.shape[1])
        )
      z_NE[start : start + len(zimg)] = zimg
      start += len(zimg)
    if z_NE is None:
      raise ValueError("no pairs are left to find clusters in")
    return z_NE, hash_N

  def _buckets(self, seed: int) -> Iterator[np.ndarray]:
    """Yield _PLACE [N] of each range of hashes, in the order of the ranges."""
    num_buckets = max(1, -(-len(self) // BUCKET))
    if num_buckets == 1:
      yield np.concatenate([np.zeros(0, _PLACE), *self._places(seed)])
      return
    files = [self.scratch / f"bucket-{i}" for i in range(num_buckets)]
    for places in self._places(seed):
      # Of 32 bits each, so that the product fits into 64.
      bucket = (places["hash"] >> np.uint64(32)) * np.uint64(num_buckets)
      bucket >>= np.uint64(32)
      order = np.argsort(bucket, kind="stable")
      ends = np.searchsorted(bucket[order], np.arange(num_buckets + 1))
      for number in np.flatnonzero(np.diff(ends)):
        with open(files[number], "ab") as file:
          places[order[ends[number] : ends[number + 1]]].tofile(file)
    for path in files:
      if path.exists():
        yield np.fromfile(path, _PLACE)
        path.unlink()

  def _places(self, seed: int) -> Iterator[np.ndarray]:
    """Yield all pairs in the order of the parts, about _BUFFER at a time."""
    found, num_found = [np.zeros(0, _PLACE)], 0
    for number in range(len(self.parts)):
      rows = self.rows(number)
      places = np.zeros(len(rows), _PLACE)
      places["hash"] = hashing.h64(rows["uid"], seed)
      places["part"] = number
      places["place"] = np.arange(len(rows))
      found.append(places)
      num_found += len(rows)
      if num_found >= _BUFFER:
        yield np.concatenate(found)
        found, num_found = [], 0
    if found:
      yield np.concatenate(found)

  def _embeddings(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float16 zimg and ztxt [N, E], in the order of `places`."""
    zimg = ztxt = np.zeros((0, 0), np.float16)
    for part, chosen in by_part(places["part"]):
      records = self._records(part, places["place"][chosen])
      if not zimg.size:
        width = records["zimg"].shape[1]
        zimg, ztxt = np.empty((2, len(places), width), np.float16)
      zimg[chosen], ztxt[chosen] = records["zimg"], records["ztxt"]
    return zimg, ztxt

  def _records(self, part: int, places: np.ndarray) -> np.ndarray:
    """Return the stored records of some pairs of a part."""
    rows, name = self.rows(part)[places], self.parts[part].name
    stored = self.store.named(name)
    found = embedding_store.places_of(
      stored["row"], stored["uid"], rows["row"], rows["uid"]
    )
    embedding_store.check_found(found, f"shard {name}", self.store.folder)
    return stored[found]


def load(path: pathlib.Path) -> np.ndarray:
  """Return what Measure saved, ROW [N]; a memory map."""
  return np.load(path, mmap_mode="r", allow_pickle=False)


def by_part(parts: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
  """Yield each number that is there, and where it is."""
  order = np.argsort(parts, kind="stable")
  numbers, starts = np.unique(parts[order], return_index=True)
  groups = np.split(order, starts[1:])
  yield from zip(numbers.tolist(), groups, strict=True)
