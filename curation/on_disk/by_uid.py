"""Values of pairs on disk, looked up by the pairs' UIDs.

UIDs are S16 here: 16 bytes, high half first. NumPy compares these as numbers of
128 bits and sorts them faster than the structured record.UID.
"""

import pathlib

import numpy as np
import pyarrow as pa

from curation import pool

UID = np.dtype("S16")


def of(table: pa.Table) -> np.ndarray:
  """Return the UIDs of a table's pairs, S16 [N]."""
  return of_records(pool.uids(table))


def of_records(uids: np.ndarray) -> np.ndarray:
  """Return S16 [N] of record.UID [N]."""
  halves = np.stack([uids["f0"], uids["f1"]], axis=1).astype(">u8")
  return halves.view(UID)[:, 0]


def as_bytes(uids: np.ndarray) -> np.ndarray:
  """Return UIDs as curation.keys.hashing takes them: uint8 [N, 16]."""
  return np.ascontiguousarray(uids).view(np.uint8).reshape(-1, UID.itemsize)


class Table:
  """Arrays sorted by UID, opened as memory maps.

  Attributes:
    uids: S16 [N], ascending, without repeats.
  """

  def __init__(self, folder: pathlib.Path):
    """Open a folder that `write` filled."""
    self._folder = folder
    self.uids = self.column("uid")

  def column(self, name: str) -> np.ndarray:
    """Return an array, in the order of `uids`."""
    array = np.load(self._folder / f"{name}.npy", mmap_mode="r")
    return array.view(np.ndarray)  # results of arithmetic are no memory maps

  def find(self, uids: np.ndarray) -> np.ndarray:
    """Return the index of each UID, -1 for an unknown one: int64 [N]."""
    if not len(self.uids):
      return np.full(len(uids), -1)
    # Sorted, so that each look-up is near the last.
    order = np.argsort(uids)
    index = np.empty(len(uids), np.int64)
    index[order] = np.searchsorted(self.uids, uids[order])
    index = np.minimum(index, len(self.uids) - 1)
    return np.where(self.uids[index] == uids, index, -1)


def write(
  folder: pathlib.Path, uids: np.ndarray, **columns: np.ndarray
) -> None:
  """Write arrays for `Table`; `uids` are ascending."""
  np.save(folder / "uid.npy", uids, allow_pickle=False)
  for name, values in columns.items():
    np.save(folder / f"{name}.npy", values, allow_pickle=False)
