"""Image embeddings of all pairs that are left, in one array sorted by UID.

The array depends neither on the order of the shards nor on their boundaries.
The embeddings are read from curation/on_disk/embedding_store.py.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from curation.keys import hashing
from curation.on_disk import embedding_store
from input_pipeline.storage import uids as uids_lib
from runtime import progress

# Records copied at once.
_BLOCK = 1 << 14
# Bins of a histogram; with 40, ALIGN's threshold is an edge.
_NUM_BINS = 40


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Image embeddings of all shards.

  Attributes:
    uids: S16 [N], ascending, without repeats.
    z_NE: float16, a memory map.
  """

  uids: np.ndarray
  z_NE: np.ndarray

  def priority(self, seed: int) -> np.ndarray:
    """Return a hash of each UID, uint64 [N]: a random order."""
    return hashing.h64(self.uids, seed)


def gather(
  parts: Sequence[pathlib.Path],
  store: embedding_store.Store,
  path: pathlib.Path,
) -> Embeddings:
  """Return the embeddings of the pairs of all parts, written to a .npy file.

  About 80 bytes a pair are in memory. Repeated UIDs are stored once.

  Args:
    parts: measures of an embedding_store.Reduction, named as their shards.
    store: embeddings of the pairs.
    path: file to write.

  Raises:
    embedding_store.MissingError: pairs have no embeddings, or no pair is left.
  """
  all_pairs = [embedding_store.load_pairs(part) for part in parts]
  names = [uids_lib.sortable(pairs["uid"]) for pairs in all_pairs]
  uids, uid_index = np.unique(
    np.concatenate([np.empty(0, uids_lib.S16), *names]), return_inverse=True
  )
  if not len(uids):
    raise embedding_store.MissingError(
      "no pairs are left whose embeddings could be compared; look for the step"
      " that dropped the last of them"
    )
  z_NE, start = None, 0
  with progress.Progress("Gathering embeddings", len(uid_index)) as bar:
    for part, pairs in zip(parts, all_pairs, strict=True):
      if not len(pairs):
        continue
      records = store.named(part.name)
      rows = embedding_store.index_of(
        records["row"], records["uid"], pairs["row"], pairs["uid"]
      )
      embedding_store.check_stored(rows, f"shard {part.name}", store.folder)
      if z_NE is None:
        shape = (len(uids), records.dtype["zimg"].shape[0])
        z_NE = np.lib.format.open_memmap(
          path, mode="w+", dtype=np.float16, shape=shape
        )
      for block in batches(len(pairs), _BLOCK):
        z_NE[uid_index[start:][block]] = records[rows[block]]["zimg"]
      start += len(pairs)
      bar.advance(len(pairs))
  assert z_NE is not None
  return Embeddings(uids, z_NE)


def distances(cosine_N: np.ndarray, cut: float) -> dict[str, object]:
  """Return a histogram of 1 - cosine, kept above `cut`, for the report."""
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
