"""Embeddings of all pairs in one array, sorted by UID.

So whatever is computed of them depends neither on the order of the shards nor
on where these were cut.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation import by_uid, hashing


class Measure:
  """What a shard contributes: UIDs and a column of embeddings, as float16."""

  def __init__(self, column: str):
    self._column = column
    self._parts: list[np.ndarray] = []

  def add(self, table: pa.Table) -> None:
    z_NE = embeddings(table, self._column)
    part = np.empty(len(z_NE), _dtype(z_NE.shape[1]))
    part["uid"], part["z"] = by_uid.of(table), z_NE
    self._parts.append(part)

  def save(self, path: pathlib.Path) -> None:
    empty = [np.empty(0, _dtype(0))]
    with open(path, "wb") as file:
      np.save(file, np.concatenate(self._parts or empty), allow_pickle=False)


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


def gather(parts: Sequence[pathlib.Path], path: pathlib.Path) -> Embeddings:
  """Return the embeddings of all parts, written to a .npy file.

  In memory are 32 bytes a pair. A pair that is there twice is taken once.

  Raises:
    ValueError: there are none, or of several widths.
  """
  arrays = [np.load(part, mmap_mode="r") for part in parts]
  arrays = [array for array in arrays if len(array)]
  widths = {array.dtype["z"].shape[0] for array in arrays}
  if len(widths) != 1:
    raise ValueError(
      "embeddings must be of one width; the pairs that are left have"
      f" {sorted(widths) or 'none'}"
    )
  all_uids = np.concatenate([array["uid"] for array in arrays])
  uids, place = np.unique(all_uids, return_inverse=True)
  z_NE = np.lib.format.open_memmap(
    path, mode="w+", dtype=np.float16, shape=(len(uids), *widths)
  )
  start = 0
  for array in arrays:
    z_NE[place[start : start + len(array)]] = array["z"]
    start += len(array)
  return Embeddings(uids, z_NE)


def embeddings(table: pa.Table, column: str) -> np.ndarray:
  """Return a column of lists of one length as an array [N, E].

  Raises:
    ValueError: the column holds no such lists.
  """
  values = table[column].combine_chunks()
  if isinstance(values, pa.ChunkedArray):
    values = pa.concat_arrays(values.chunks)
  if not pa.types.is_fixed_size_list(values.type):
    raise ValueError(
      f"{column} must hold embeddings, lists of one fixed size; got"
      f" {values.type}"
    )
  flat = values.flatten()
  if flat.null_count or len(flat) != len(values) * values.type.list_size:
    raise ValueError(f"{column} lacks the embeddings of some pairs")
  return flat.to_numpy().reshape(len(values), values.type.list_size)


def batches(num_rows: int, size: int) -> Iterator[slice]:
  """Yield slices that cover rows."""
  for start in range(0, num_rows, size):
    yield slice(start, start + size)


def _dtype(width: int) -> np.dtype:
  return np.dtype([("uid", by_uid.UID), ("z", np.float16, (width,))])
