"""Examples that share a UID, which no selection can tell apart."""

from collections.abc import Sequence

import numpy as np

from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from input_pipeline.storage import uids as uids_lib

# UIDs that are compared at once.
_CHUNK = 2**20


class Counter:
  """Counts of a source's examples under each UID of a selection."""

  def __init__(self, num: int):
    """Begin with none under each of `num` UIDs: a byte each."""
    self._counts = np.zeros(num, np.uint8)

  def add(self, index: np.ndarray) -> None:
    """Add examples, by the index of their UIDs in the selection, int64 [n]."""
    index, counts = np.unique(index, return_counts=True)
    self._counts[index] = np.minimum(self._counts[index] + counts, 2)

  def repeated(self) -> np.ndarray:
    """Return the index of each UID of several examples, int64, ascending."""
    return np.flatnonzero(self._counts > 1)


def count(uids: np.ndarray) -> int:
  """Return the number of UIDs [N] that come again; 8 bytes each in memory."""
  # A multiplication by an odd number keeps all bits of a half.
  hashes = uids["f0"] ^ (uids["f1"] * np.uint64(0x9E3779B97F4A7C15))
  hashes.sort()
  return int((hashes[1:] == hashes[:-1]).sum())


def check(
  repeated: np.ndarray,
  records: record_lib.Records,
  source: source_config.SourceConfig,
  field: str,
) -> None:
  """Raise ValueError if UIDs of a selection are those of several examples.

  Args:
    repeated: UID [N], those UIDs.
    records: records of the whole source.
    source: section of the source.
    field: field of the selection, such as "data.sources.main.subset".
  """
  if not len(repeated):
    return
  uids, positions = records.uids(), []
  for start in range(0, len(uids), _CHUNK):
    chunk = uids[start : start + _CHUNK]
    same = (chunk["f0"] == repeated["f0"][0]) & (
      chunk["f1"] == repeated["f1"][0]
    )
    positions += (start + np.flatnonzero(same)).tolist()
  examples = [
    (records.path_of(index), f"example {index} of the source")
    for index in positions[:2]
  ]
  uid = uids_lib.uid_hex(repeated[0])
  raise ValueError(message(source, field, examples, num=len(repeated), uid=uid))


def message(
  source: source_config.SourceConfig,
  field: str,
  examples: Sequence[tuple[str, str]],
  *,
  num: int,
  uid: str,
) -> str:
  """Return two lines: a UID of several examples, and what to do about it.

  Args:
    source: section of the source.
    field: field of the section that asks for UIDs, such as
      "data.sources.main.subset" or "pool.path".
    examples: (path, name in that file) of two examples with one UID.
    num: number of UIDs of several examples.
    uid: the UID of the two.
  """
  (path, name), (other, other_name) = examples
  return (
    f"{field}: {num} UIDs are those of several examples each, which no "
    f"selection can tell apart: {uid} is that of {name} in {path} and of "
    f"{other_name} in {other}.\n"
    + _way_out(source, f"{field.rpartition('.')[0]}.uid", path == other)
  )


def _way_out(
  source: source_config.SourceConfig, field: str, is_one_file: bool
) -> str:
  both = "the same in a curation's pool and in training"
  if source.format in ("array_record", "emoji"):
    return (
      "Prepare the data again (--task=prepare), its source with another uid, "
      'such as "file+key"'
    )
  if source.format == "tfds":
    return f'Set {field} to a feature that differs, or to "": {both}'
  if not is_one_file:
    return (
      f'Set {field}="file+key", which adds the path of its file to a key, or '
      f"to a field that differs: {both}"
    )
  if source.format == "webdataset":
    return (
      "Take tars that were joined apart again, or set "
      f'{field}="json.FIELD" to a field that differs: {both}'
    )
  return (
    f'Set {field}="file+row", which names rows by file and number, or to a '
    f"column that differs: {both}"
  )
