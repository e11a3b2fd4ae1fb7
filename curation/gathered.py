"""Image embeddings of all pairs that are left, in one array sorted by UID.

So whatever is computed of them depends neither on the order of the shards nor
on where these were cut. The embeddings come from the store of the steps that
embed (curation/embeddings.py).
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation import by_uid, embeddings, hashing

_PAIR = np.dtype([("uid", by_uid.UID), ("row", "<i8")])
# Records copied at once.
_BLOCK = 1 << 14


class Measure:
  """What a shard contributes: which of its pairs are left."""

  def __init__(self) -> None:
    self._parts = [np.empty(0, _PAIR)]

  def add(self, table: pa.Table) -> None:
    part = np.empty(len(table), _PAIR)
    part["uid"], part["row"] = by_uid.of(table), table["row"].to_numpy()
    self._parts.append(part)

  def save(self, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
      np.save(file, np.concatenate(self._parts), allow_pickle=False)


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """What all shards contributed.

  Attributes:
    uids: S16 [N], ascending, each once.
    z_NE: float16, a memory map.
  """

  uids: np.ndarray
  z_NE: np.ndarray

  def priority(self, seed: int) -> np.ndarray:
    """Return a hash of each UID, uint64 [N]: an order that is random."""
    return hashing.h64(by_uid.as_bytes(self.uids), seed)


def gather(
  parts: Sequence[pathlib.Path], store: embeddings.Store, path: pathlib.Path
) -> Embeddings:
  """Return the embeddings of the pairs of all parts, written to a .npy file.

  In memory are some 80 bytes a pair. A pair that is there twice is taken once.

  Args:
    parts: what `Measure` saved, named as their shards.
    store: where the embeddings are.
    path: of the file to write.

  Raises:
    embeddings.MissingError: pairs without embeddings; or there are no pairs.
  """
  all_pairs = [np.load(part) for part in parts]
  found = np.concatenate([np.empty(0, _PAIR), *all_pairs])
  uids, place = np.unique(found["uid"], return_inverse=True)
  if not len(uids):
    raise embeddings.MissingError(
      "no pairs are left whose embeddings could be compared; look for the step"
      " that dropped the last of them"
    )
  z_NE, start = None, 0
  for part, pairs in zip(parts, all_pairs, strict=True):
    if not len(pairs):
      continue
    records, rows = _stored(store, part.name, pairs)
    if z_NE is None:
      shape = (len(uids), records.dtype["zimg"].shape[0])
      z_NE = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float16, shape=shape
      )
    for block in batches(len(pairs), _BLOCK):
      z_NE[place[start:][block]] = records[rows[block]]["zimg"]
    start += len(pairs)
  assert z_NE is not None
  return Embeddings(uids, z_NE)


def batches(num_rows: int, size: int) -> Iterator[slice]:
  """Yield slices that cover rows, of `size` but for the last."""
  for start in range(0, num_rows, size):
    yield slice(start, min(start + size, num_rows))


def _stored(
  store: embeddings.Store, shard: str, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return a shard's records, and at which of them the pairs are.

  Raises:
    embeddings.MissingError: some are at none.
  """
  # A shard that changed has a file of each of its versions: the newest first.
  files = sorted(
    store.folder.glob(f"{shard}-*.npy"),
    key=lambda file: (-file.stat().st_mtime_ns, file.name),
  )
  for file in files:
    records = np.load(file, mmap_mode="r", allow_pickle=False)
    stored = records["row"].copy()
    rows = np.searchsorted(stored, pairs["row"])
    if not len(stored) or (rows == len(stored)).any():
      continue
    if (by_uid.of_records(records["uid"][rows]) == pairs["uid"]).all():
      return records, rows
  raise embeddings.MissingError(
    f"some of the {len(pairs)} pairs of shard {shard} have no embeddings in"
    f" {store.folder}; a step that embeds with the same model (op=embed, or"
    " stored_embeddings) has to come before"
  )
