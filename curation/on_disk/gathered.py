"""Image embeddings of all pairs that are left, in one array sorted by UID.

So whatever is computed of them depends neither on the order of the shards nor
on where these were cut. The embeddings come from the store of the steps that
embed (curation/on_disk/embedding_store.py).
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from curation.keys import hashing
from curation.on_disk import by_uid, embedding_store, random_batches
from runtime import progress

# Records copied at once.
_BLOCK = 1 << 14
# Of a histogram: ALIGN's threshold is then the edge of one.
_NUM_BINS = 40


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
  parts: Sequence[pathlib.Path],
  store: embedding_store.Store,
  path: pathlib.Path,
) -> Embeddings:
  """Return the embeddings of the pairs of all parts, written to a .npy file.

  In memory are some 80 bytes a pair. A pair that is there twice is taken once.

  Args:
    parts: what random_batches.Measure saved, named as their shards.
    store: where the embeddings are.
    path: of the file to write.

  Raises:
    embeddings.MissingError: pairs without embeddings; or there are no pairs.
  """
  all_pairs = [random_batches.load(part) for part in parts]
  names = [by_uid.of_records(pairs["uid"]) for pairs in all_pairs]
  uids, place = np.unique(
    np.concatenate([np.empty(0, by_uid.UID), *names]), return_inverse=True
  )
  if not len(uids):
    raise embedding_store.MissingError(
      "no pairs are left whose embeddings could be compared; look for the step"
      " that dropped the last of them"
    )
  z_NE, start = None, 0
  with progress.Progress("Gathering embeddings", len(place)) as bar:
    for part, pairs in zip(parts, all_pairs, strict=True):
      if not len(pairs):
        continue
      records = store.named(part.name)
      rows = embedding_store.places_of(
        records["row"], records["uid"], pairs["row"], pairs["uid"]
      )
      embedding_store.check_found(rows, f"shard {part.name}", store.folder)
      if z_NE is None:
        shape = (len(uids), records.dtype["zimg"].shape[0])
        z_NE = np.lib.format.open_memmap(
          path, mode="w+", dtype=np.float16, shape=shape
        )
      for block in batches(len(pairs), _BLOCK):
        z_NE[place[start:][block]] = records[rows[block]]["zimg"]
      start += len(pairs)
      bar.advance(len(pairs))
  assert z_NE is not None
  return Embeddings(uids, z_NE)


def distances(cosine_N: np.ndarray, cut: float) -> dict[str, object]:
  """Return a histogram of 1 - cosine for the report: above `cut` is kept."""
  counts, edges = np.histogram(
    np.clip(1.0 - cosine_N.astype(np.float64), 0, 1),
    bins=_NUM_BINS,
    range=(0, 1),
  )
  return {"edges": edges.tolist(), "counts": counts.tolist(), "cut": cut}


def batches(num_rows: int, size: int) -> Iterator[slice]:
  """Yield slices that cover rows, of `size` but for the last."""
  for start in range(0, num_rows, size):
    yield slice(start, min(start + size, num_rows))
