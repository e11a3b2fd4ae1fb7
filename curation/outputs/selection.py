"""selection.npy: sorted UIDs of kept pairs, dtype "u8,u8", DataComp's format.

Training reads it as `data.sources.NAME.subset`; DataComp's resharder reads it
unchanged.

Runs (files of sorted, distinct UIDs without a header) are merged, many at a
time, from buffers: memory depends neither on the number of kept pairs nor on
the number of shards.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from input_pipeline.storage import uids as uids_lib
from runtime.storage import mirror, whole_files

# Highest number of runs merged at once, each of them an open file.
FAN_IN = 256
# UIDs of all runs in memory during a merge: 22 MB with the memory for sorting,
# in each worker that merges.
_NUM_IN_MEMORY = 1 << 18


@dataclasses.dataclass(frozen=True)
class Group:
  """Runs that are merged into one.

  Attributes:
    runs: files to read.
    path: file to write.
  """

  runs: tuple[pathlib.Path, ...]
  path: pathlib.Path


def groups(
  runs: Sequence[pathlib.Path], folder: pathlib.Path, level: int
) -> list[Group]:
  """Return groups of at most FAN_IN runs to merge next."""
  starts = range(0, len(runs), FAN_IN)
  return [
    Group(tuple(runs[i : i + FAN_IN]), folder / f"{level}-{number}")
    for number, i in enumerate(starts)
  ]


def merge_group(group: Group) -> None:
  """Write the run of a group, whole or not at all, unless it exists."""
  if group.path.exists():
    return
  group.path.parent.mkdir(parents=True, exist_ok=True)
  with whole_files.replacing(group.path) as file:
    for uids in merged(group.runs):
      file.write(uids.tobytes())


def write(
  runs: Sequence[pathlib.Path],
  path: pathlib.Path,
  copy: mirror.Mirror = mirror.Mirror(),
) -> tuple[int, str]:
  """Write the distinct UIDs of at most FAN_IN runs as an .npy file.

  Args:
    runs: files to merge.
    path: file to write.
    copy: mirror of the folder that it lies in.

  Returns:
    The number of UIDs, and the SHA-256 of the sorted UIDs, 16 little-endian
    bytes each.
  """
  num, digest = 0, hashlib.sha256()
  with copy.replacing(path) as file:
    # NumPy pads headers, so that the number of rows can be set later.
    start = uids_lib.npy_header(0)
    file.write(start)
    for uids in merged(runs):
      data = uids.tobytes()
      file.write(data)
      digest.update(data)
      num += len(uids)
    header = uids_lib.npy_header(num)
    assert len(header) == len(start)
    file.seek(0)
    file.write(header)
  return num, digest.hexdigest()


def merged(
  runs: Sequence[pathlib.Path], num_in_memory: int = _NUM_IN_MEMORY
) -> Iterator[np.ndarray]:
  """Yield the sorted, distinct UIDs of runs, UID [N] at a time."""
  num_of_each = max(1, num_in_memory // max(1, len(runs)))
  size = uids_lib.UID.itemsize
  lefts = [path.stat().st_size // size for path in runs]
  starts = [0] * len(runs)
  buffers = [np.zeros(0, uids_lib.UID) for _ in runs]
  while True:
    for number, path in enumerate(runs):
      count = min(num_of_each - len(buffers[number]), lefts[number])
      if count > 0:
        more = np.fromfile(path, uids_lib.UID, count, offset=starts[number])
        buffers[number] = np.concatenate((buffers[number], more))
        starts[number] += count * size
        lefts[number] -= count
    # Unread UIDs of a run are above the last one in its buffer.
    bounds = [b[-1] for b, left in zip(buffers, lefts, strict=True) if left]
    bound = min(map(tuple, bounds), default=None)
    taken = []
    for number, buffer in enumerate(buffers):
      stop = len(buffer) if bound is None else _num_up_to(buffer, bound)
      taken.append(buffer[:stop])
      buffers[number] = buffer[stop:]
    uids = uids_lib.unique(np.concatenate([np.zeros(0, uids_lib.UID), *taken]))
    if len(uids):
      yield uids
    if bound is None:
      return


def _num_up_to(uids: np.ndarray, bound: tuple[int, int]) -> int:
  """Return the number of sorted UIDs that are at most `bound`."""
  high, low = (np.uint64(half) for half in bound)
  start = np.searchsorted(uids["f0"], high, "left")
  stop = np.searchsorted(uids["f0"], high, "right")
  return int(start + np.searchsorted(uids["f1"][start:stop], low, "right"))
