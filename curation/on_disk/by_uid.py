"""Values of pairs on disk, looked up by the pairs' UIDs.

UIDs have the form S16 [N] of input_pipeline/storage/uids.py.
"""

import pathlib

import numpy as np

from curation.on_disk import key_sets


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
    index, is_stored = key_sets.look_up(self.uids, uids)
    return np.where(is_stored, index, -1)


def write(
  folder: pathlib.Path, uids: np.ndarray, **columns: np.ndarray
) -> None:
  """Write arrays for `Table`; `uids` are ascending."""
  np.save(folder / "uid.npy", uids, allow_pickle=False)
  for name, values in columns.items():
    np.save(folder / f"{name}.npy", values, allow_pickle=False)
