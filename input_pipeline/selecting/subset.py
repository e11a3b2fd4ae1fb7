"""Subset of a source: the examples named by a file of UIDs.

The file is a sorted .npy array of `uids.UID` (dtype "u8,u8"), as DataComp
publishes its subsets. Their positions in the source are looked up once and kept
below the cache folder.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from input_pipeline.selecting import repeats
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from input_pipeline.storage import npy
from input_pipeline.storage import uids as uids_lib
from runtime import progress
from runtime.storage import local_file, whole_files

# Folder of the cache with copies of selections that lie in a bucket.
FOLDER = "selections"
# UIDs that are compared at once.
_CHUNK = 2**20
# Version to increase when the form of the cached files changes.
_VERSION = 2


class Records:
  """Records at selected positions of a source; see record.Records."""

  def __init__(self, records: record_lib.Records, path: pathlib.Path):
    """Open a subset.

    Args:
      records: records of the whole source.
      path: file of ascending positions, little-endian uint64.
    """
    self._records: Any = records
    self._path = path
    self._positions = np.memmap(path, "<u8", "r")

  def __len__(self) -> int:
    return len(self._positions)

  def __getitem__(self, index: int) -> record_lib.Record:
    if not -len(self) <= index < len(self):
      raise IndexError(f"{index} of {len(self)} examples")
    return self._records[int(self._positions[index])]

  def question(self, index: int) -> Any:
    """Return a record's question; see asking/asked.py, whose records these are.

    Raises faults.ExampleError.
    """
    return self._records.question(int(self._positions[index]))

  def fingerprint(self) -> str:
    """Return the name of the file of positions, a digest of both."""
    return self._path.stem

  def image_state(self) -> str:
    """Return the state of the source's images; see record.image_state."""
    return record_lib.image_state(self._records)

  def image_id(self, index: int) -> bytes:
    """Return the name of a record's image; see image_ids."""
    return self._records.image_id(int(self._positions[index]))

  def path_of(self, index: int) -> str:
    """Return the path of the file that has a record."""
    return self._records.path_of(int(self._positions[index]))

  def uids(self) -> np.ndarray:
    """Return each record's UID."""
    return self._records.uids()[self._positions]

  # Pickled by its path: the positions are mapped again when unpickled.
  def __reduce__(self):
    return type(self), (self._records, self._path)


def select(
  records: record_lib.Records,
  source: source_config.SourceConfig,
  context: source_config.SourceContext,
) -> Records:
  """Return the examples that `source.subset` names, in the source's order.

  The first call reads every UID of the source and of the file. Raises
  ValueError for a file without sorted UIDs, with none of the source's, or with
  one that several examples have.
  """
  field = f"{context.field}.subset"
  try:
    local, version = local_file.get(source.subset, context.cache_dir / FOLDER)
  except OSError as error:
    raise _unreadable(field, source.subset, error) from error
  uids = read(field, source.subset, local)
  facts = (
    *(_VERSION, records.fingerprint(), source.uid, source.subset),
    *version,
  )
  digest = record_lib.digest(facts)
  path = context.cache_dir / "subsets" / f"{digest}.u8"
  if not path.exists():
    _check_sorted(field, source.subset, uids)
    source_uids = records.uids()
    label = f"Looking up {context.field} in {source.subset}"
    with progress.Progress(label, len(source_uids)) as bar:
      subset = uids_lib.SortedUids(uids, source.subset)
      found, repeated = _positions(source_uids, subset, len(uids), bar.advance)
    repeats.check(uids[repeated], records, source, field)
    if not len(found):
      raise ValueError(
        f"{field}={source.subset} names none of the {len(records)} examples: "
        f"the first UID there is {uids_lib.uid_hex(uids[0])}, that of the "
        f"source {uids_lib.uid_hex(source_uids[0])}. "
        f"{context.field}.uid names the field of the UIDs, "
        'of "file+" with paths below the folder of all files'
      )
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write(path, found.astype("<u8").tobytes())
  chosen = Records(records, path)
  if len(chosen) < len(uids):
    logging.warning(
      "%s: %d of its %d examples are in %s, which names %d",
      *(context.field, len(chosen), len(records), source.subset, len(uids)),
    )
  return chosen


def read(
  field: str, path: str, local: pathlib.Path | None = None
) -> np.ndarray:
  """Return the UIDs of a file, memory-mapped; ValueError for another file.

  Args:
    field: field of the file, for messages.
    path: path of the file.
    local: its copy on this disk, if it lies in a bucket.
  """
  try:
    uids = npy.load(local or path)
  except (OSError, ValueError) as error:
    raise _unreadable(field, path, error) from error
  kinds = [uids.dtype[name] for name in uids.dtype.names or ()]
  if uids.ndim != 1 or kinds != [np.dtype("<u8")] * 2:
    raise ValueError(
      f'{field} must be a .npy file of one array [N] of dtype "u8,u8"; got '
      f"{path} of {uids.dtype} {list(uids.shape)}"
    )
  if not len(uids):
    raise ValueError(f"{field}={path} names no example: it is empty")
  return uids.view(uids_lib.UID)


def _unreadable(field: str, path: str, error: Exception) -> ValueError:
  return ValueError(f"{field} must be a .npy file of UIDs; got {path}: {error}")


def _check_sorted(field: str, path: str, uids: np.ndarray) -> None:
  for start in range(0, len(uids), _CHUNK):
    keys = uids_lib.sortable(uids[start : start + _CHUNK + 1])
    wrong = np.flatnonzero(keys[1:] < keys[:-1])
    if len(wrong):
      first = start + int(wrong[0])
      raise ValueError(
        f"{field}={path} must be sorted (np.sort), but UID {first + 1}, "
        f"{uids_lib.uid_hex(uids[first + 1])}, is lower than the one before, "
        f"{uids_lib.uid_hex(uids[first])}"
      )


def _positions(
  source: np.ndarray,
  subset: uids_lib.SortedUids,
  num: int,
  advance: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
  """Return where `source` has one of the subset's `num` UIDs: int64, ascending.

  Also return the index in the subset of those UIDs that it has several times.
  """
  positions = [np.zeros(0, np.int64)]
  counter = repeats.Counter(num)
  for start in range(0, len(source), _CHUNK):
    chunk = source[start : start + _CHUNK]
    index = subset.index(chunk)
    positions.append(start + np.flatnonzero(index >= 0))
    counter.add(index[index >= 0])
    advance(len(chunk))
  return np.concatenate(positions), counter.repeated()
