"""Random batches over all pairs of a pool, independent of its shards.

Pairs are ordered by hashes of their UIDs, so the order depends on the pairs and
a seed alone. They are sorted on disk, bucket by bucket; the embeddings of one
bucket at a time are in memory, read shard by shard.

N pairs are cut into the least number of batches of at most `size` pairs; sizes
differ by at most one, so there is no small last batch.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from curation.keys import hashing
from curation.on_disk import embedding_store

# Position of a pair: number of its part, and index in the part.
_POSITION = np.dtype([("hash", "<u8"), ("part", "<u4"), ("index", "<u4")])
# Pairs whose embeddings are in memory: 1 GB for two embeddings of 512 numbers.
BUCKET = 1 << 19
# Pairs whose hashes are sorted in memory.
_BUFFER = 1 << 22


@dataclasses.dataclass(frozen=True)
class Batch:
  """Pairs of a batch.

  Attributes:
    part: uint32 [N], number of the part of each pair.
    index: uint32 [N], index of each pair in the part.
    zimg: float16 [N, E].
    ztxt: float16 [N, E].
  """

  part: np.ndarray
  index: np.ndarray
  zimg: np.ndarray
  ztxt: np.ndarray


@dataclasses.dataclass(frozen=True)
class Batches:
  """Pairs of all parts: the measures of an embedding_store.Reduction.

  Attributes:
    parts: files of the measures, sorted by name.
    store: embeddings of all pairs.
    scratch: folder for buckets, which are deleted after use.
  """

  parts: tuple[pathlib.Path, ...]
  store: embedding_store.Store
  scratch: pathlib.Path

  def __len__(self) -> int:
    """Return the number of pairs."""
    return sum(map(len, map(self.rows, range(len(self.parts)))))

  def rows(self, part: int) -> np.ndarray:
    """Return a part, embedding_store.PAIR [N]; a memory map."""
    return embedding_store.load_pairs(self.parts[part])

  def sizes(self, size: int) -> np.ndarray:
    """Return the sizes of batches of at most `size`, int64."""
    num_pairs = len(self)
    num_batches = -(-num_pairs // size)
    ends = np.arange(1, num_batches + 1) * num_pairs // max(num_batches, 1)
    return np.diff(ends, prepend=0)

  def draw(self, size: int, seed: int) -> Iterator[Batch]:
    """Yield all pairs in batches of at most `size`, ordered by the seed."""
    left: list[tuple[np.ndarray, ...]] = []
    due = iter(self.sizes(size).tolist())
    wanted = next(due, 0)
    for bucket in self._buckets(seed):
      bucket = bucket[np.argsort(bucket["hash"], kind="stable")]
      left.append((bucket, *self._embeddings(bucket)))
      num_left = sum(len(positions) for positions, _, _ in left)
      if num_left < wanted:
        continue
      positions, zimg, ztxt = (
        np.concatenate(arrays) for arrays in zip(*left, strict=True)
      )
      start = 0
      while wanted and num_left - start >= wanted:
        rows = slice(start, start + wanted)
        part, index = positions["part"][rows], positions["index"][rows]
        yield Batch(part, index, zimg[rows], ztxt[rows])
        start += wanted
        wanted = next(due, 0)
      left = [(positions[start:], zimg[start:], ztxt[start:])]

  def sample(
    self, share: float, seed: int, path: pathlib.Path
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return image embeddings of a random sample of the pairs, and hashes.

    Args:
      share: expected share of the pairs in the sample; 1 for all.
      seed: random seed of the hashes; pairs with the lowest are taken.
      path: .npy file to write the embeddings to.

    Returns:
      (float16 [N, E], a memory map; uint64 [N].)

    Raises:
      ValueError: the sample is empty.
    """
    hashes, chosen = [], []
    for number in range(len(self.parts)):
      uids = self.rows(number)["uid"]
      chosen.append(np.flatnonzero(hashing.uniform(uids, seed) < share))
      hashes.append(hashing.h64(uids[chosen[-1]], seed))
    hash_N = np.concatenate([np.zeros(0, np.uint64), *hashes])
    z_NE, start = None, 0
    for number, index in enumerate(chosen):
      if not len(index):
        continue
      zimg = self._records(number, index)["zimg"]
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
    """Yield _POSITION [N] of each range of hashes, in ascending order."""
    num_buckets = max(1, -(-len(self) // BUCKET))
    if num_buckets == 1:
      yield np.concatenate([np.zeros(0, _POSITION), *self._positions(seed)])
      return
    files = [self.scratch / f"bucket-{i}" for i in range(num_buckets)]
    for positions in self._positions(seed):
      # Factors of 32 bits: the product fits into 64.
      bucket = (positions["hash"] >> np.uint64(32)) * np.uint64(num_buckets)
      bucket >>= np.uint64(32)
      order = np.argsort(bucket, kind="stable")
      ends = np.searchsorted(bucket[order], np.arange(num_buckets + 1))
      for number in np.flatnonzero(np.diff(ends)):
        with open(files[number], "ab") as file:
          positions[order[ends[number] : ends[number + 1]]].tofile(file)
    for path in files:
      if path.exists():
        yield np.fromfile(path, _POSITION)
        path.unlink()

  def _positions(self, seed: int) -> Iterator[np.ndarray]:
    """Yield all pairs in the order of the parts, about _BUFFER at a time."""
    held, num_held = [np.zeros(0, _POSITION)], 0
    for number in range(len(self.parts)):
      rows = self.rows(number)
      positions = np.zeros(len(rows), _POSITION)
      positions["hash"] = hashing.h64(rows["uid"], seed)
      positions["part"] = number
      positions["index"] = np.arange(len(rows))
      held.append(positions)
      num_held += len(rows)
      if num_held >= _BUFFER:
        yield np.concatenate(held)
        held, num_held = [], 0
    if held:
      yield np.concatenate(held)

  def _embeddings(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float16 zimg and ztxt [N, E], in the order of `positions`."""
    zimg = ztxt = np.zeros((0, 0), np.float16)
    for part, chosen in by_part(positions["part"]):
      records = self._records(part, positions["index"][chosen])
      if not zimg.size:
        width = records["zimg"].shape[1]
        zimg, ztxt = np.empty((2, len(positions), width), np.float16)
      zimg[chosen], ztxt[chosen] = records["zimg"], records["ztxt"]
    return zimg, ztxt

  def _records(self, part: int, index: np.ndarray) -> np.ndarray:
    """Return the stored records of the pairs of a part at these indices."""
    rows, name = self.rows(part)[index], self.parts[part].name
    stored = self.store.named(name)
    stored_index = embedding_store.index_of(
      stored["row"], stored["uid"], rows["row"], rows["uid"]
    )
    embedding_store.check_stored(
      stored_index, f"shard {name}", self.store.folder
    )
    return stored[stored_index]


def by_part(parts: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
  """Yield each number in `parts`, and the indices at which it occurs."""
  order = np.argsort(parts, kind="stable")
  numbers, starts = np.unique(parts[order], return_index=True)
  groups = np.split(order, starts[1:])
  yield from zip(numbers.tolist(), groups, strict=True)
