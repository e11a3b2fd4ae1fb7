"""Subset of a source: the examples named by a file of UIDs.

The file is a sorted .npy array of `record.UID` (dtype "u8,u8"), as DataComp
publishes its subsets. Their positions in the source are looked up once and kept
below the cache folder.
"""

import pathlib
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging

from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from runtime import progress, whole_files

# UIDs compared at once; those of the file take 24 bytes each in memory.
_FILE_CHUNK = 2**26
_SOURCE_CHUNK = 2**20
# Version to increase when the form of the cached files changes.
_VERSION = 1


class Records:
  """Records at selected positions of a source; see record.Records."""

  def __init__(self, records: record_lib.Records, path: pathlib.Path):
    """Open a subset.

    Args:
      records: records of the whole source.
      path: file of ascending positions, little-endian uint64.
    """
    self._records = records
    self._path = path
    self._positions = np.memmap(path, "<u8", "r")

  def __len__(self) -> int:
    return len(self._positions)

  def __getitem__(self, index: int) -> record_lib.Record:
    if not -len(self) <= index < len(self):
      raise IndexError(f"{index} of {len(self)} examples")
    return self._records[int(self._positions[index])]

  def fingerprint(self) -> str:
    """Return the name of the file of positions, a digest of both."""
    return self._path.stem

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
  ValueError for a file without sorted UIDs, or with none of the source's.
  """
  field = f"{context.field}.subset"
  uids = read(field, source.subset)
  stat = pathlib.Path(source.subset).stat()
  facts = (
    *(_VERSION, records.fingerprint(), source.uid, source.subset),
    *(stat.st_size, stat.st_mtime_ns),
  )
  digest = record_lib.digest(facts)
  path = context.cache_dir / "subsets" / f"{digest}.u8"
  if not path.exists():
    _check_sorted(field, source.subset, uids)
    source_uids = records.uids()
    label = f"Looking up {context.field} in {source.subset}"
    with progress.Progress(label, len(source_uids) * _num_parts(uids)) as bar:
      found = _positions(source_uids, uids, bar.advance)
    if not len(found):
      raise ValueError(
        f"{field}={source.subset} names none of the {len(records)} examples: "
        f"the first UID there is {record_lib.uid_hex(uids[0])}, that of the "
        f"source {record_lib.uid_hex(source_uids[0])}. "
        f"{context.field}.uid names the field of the UIDs"
      )
    logging.info(
      "%s: %d of %d examples are among the %d of %s",
      *(context.field, len(found), len(records), len(uids), source.subset),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write(path, found.astype("<u8").tobytes())
  return Records(records, path)


def read(field: str, path: str) -> np.ndarray:
  """Return the UIDs of a file, memory-mapped; ValueError for another file."""
  try:
    uids = np.load(path, mmap_mode="r", allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise ValueError(
      f"{field} must be a .npy file of UIDs; got {path}: {error}"
    ) from error
  kinds = [uids.dtype[i] for i in range(len(uids.dtype))]
  if uids.ndim != 1 or kinds != [np.dtype("<u8")] * 2:
    raise ValueError(
      f'{field} must be a .npy file of one array [N] of dtype "u8,u8"; got '
      f"{path} of {uids.dtype} {list(uids.shape)}"
    )
  if not len(uids):
    raise ValueError(f"{field}={path} names no example: it is empty")
  return uids


def _check_sorted(field: str, path: str, uids: np.ndarray) -> None:
  for start in range(0, len(uids), _SOURCE_CHUNK):
    keys = _sortable(uids[start : start + _SOURCE_CHUNK + 1])
    wrong = np.flatnonzero(keys[1:] < keys[:-1])
    if len(wrong):
      first = start + int(wrong[0])
      raise ValueError(
        f"{field}={path} must be sorted (np.sort), but UID {first + 1}, "
        f"{record_lib.uid_hex(uids[first + 1])}, is lower than the one before, "
        f"{record_lib.uid_hex(uids[first])}"
      )


def _positions(
  source: np.ndarray, subset: np.ndarray, advance: Callable[[int], None]
) -> np.ndarray:
  """Return where `source` has a UID that the sorted `subset` has, ascending."""
  found = [np.zeros(0, np.int64)]
  for part in _chunks(subset, _FILE_CHUNK):
    names, highs = _sortable(part), _highs(part)
    for start in range(0, len(source), _SOURCE_CHUNK):
      chunk = source[start : start + _SOURCE_CHUNK]
      keys = _sortable(chunk)
      # Compared by the high half, in half the time, then fully if it is equal.
      places = np.searchsorted(highs, _highs(chunk))
      places[places == len(names)] = 0  # behind the last: equal to none
      again = highs[places] == _highs(chunk)
      again &= names[places] != keys
      places[again] = np.searchsorted(names, keys[again])
      places[places == len(names)] = 0
      found.append(start + np.flatnonzero(names[places] == keys))
      advance(len(chunk))
  # Each position once, also where a UID is on both sides of a border.
  return np.unique(np.concatenate(found))


def _num_parts(subset: np.ndarray) -> int:
  return -(-len(subset) // _FILE_CHUNK)


def _chunks(array: np.ndarray, size: int) -> Iterator[np.ndarray]:
  for start in range(0, len(array), size):
    yield array[start : start + size]


def _sortable(uids: np.ndarray) -> np.ndarray:
  """Return UIDs as strings of 16 bytes, which NumPy compares fast.

  High byte first, so their order is that of the numbers.
  """
  halves = np.empty((len(uids), 2), ">u8")
  _, low = uids.dtype.names or ()
  halves[:, 0] = _highs(uids)
  halves[:, 1] = uids[low]
  return halves.view("S16")[:, 0]


def _highs(uids: np.ndarray) -> np.ndarray:
  high, _ = uids.dtype.names or ()
  return np.ascontiguousarray(uids[high])
