"""Interface of pools: the image-text pairs that a curation reads, in shards.

A shard is the unit of work, of retry and of resume: a tar, row groups of a
Parquet file, a range of a file of JSON lines. It is read as Arrow tables with
the requested columns:

  uid       fixed_size_binary(16): input_pipeline.sources.record.UID, high half
            first, big-endian; equal to the UID in training
  row       int64: index of the example in its shard << CAPTION_BITS | number
            of the caption; ascending, with gaps
  fault     string: "KIND: MESSAGE" (of input_pipeline.faults) for an unusable
            pair, of which only uid and row are known; else null
  text      string: the caption, as in training
  caption   int32: number of the caption among those of its example; each
            caption is a pair
  language  string (ISO 639-1; "und" if unknown)
  image     binary: encoded, in any format of image_ops.decode
  width, height   int32: pixels of the image before any resizing
                  (original_width if the files have it)
  url, sha256, ...   any other column of the files

uid, row and fault are always there.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from input_pipeline.sources import record
from input_pipeline.storage import uids as uids_lib

UID_TYPE = pa.binary(16)
# Types of the columns with a fixed meaning.
TYPES: Mapping[str, pa.DataType] = {
  "uid": UID_TYPE,
  "row": pa.int64(),
  "fault": pa.string(),
  "text": pa.string(),
  "caption": pa.int32(),
  "language": pa.string(),
  "image": pa.binary(),
  "width": pa.int32(),
  "height": pa.int32(),
}
# Columns of every table.
ALWAYS = ("uid", "row", "fault")
# Lower bits of `row`: an example has at most 65,536 captions.
CAPTION_BITS = 16
# Highest number of rows of a table with images, and without.
IMAGE_ROWS = 256
TEXT_ROWS = 16_384


@dataclasses.dataclass(frozen=True)
class PoolConfig:
  """Fields of `config.pool`; configs/curate/fields.py explains them."""

  format: str
  path: str
  image: tuple[str, ...]
  caption: tuple[str, ...]
  language: str
  language_field: str
  uid: str
  split: str = ""
  languages: tuple[str, ...] = ()
  encoding: str = ""
  image_root: str = ""


@dataclasses.dataclass(frozen=True)
class Shard:
  """Part of a pool.

  Attributes:
    name: letters, digits, "-" and "_"; unique in the pool, and independent of
      the other shards.
    path: path of its file.
    start: first row group, byte or example, by format.
    stop: end, exclusive.
    version: string that changes with the content (size and version of a
      files.File).
  """

  name: str
  path: str
  start: int
  stop: int
  version: str


class Pool(Protocol):
  """Pairs in shards; can be pickled."""

  @property
  def shards(self) -> Sequence[Shard]:
    """Return all shards, in the order of the files.

    A pool is pickled without its shards: other processes get none.
    """
    ...

  @property
  def columns(self) -> frozenset[str]:
    """Return the names of the columns that can be requested."""
    ...

  def read(
    self,
    shard: Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard in order, in tables.

    Args:
      shard: shard of this pool.
      columns: requested columns beside ALWAYS.
      max_rows: highest number of rows of a table; no table is empty.
      rows: int64, ascending: rows to read; None for all.
    """
    ...


def shard_name(path: str, start: int) -> str:
  """Return a name for the part of a file that begins at `start`."""
  stem = re.sub(r"[^A-Za-z0-9_]+", "-", path.rpartition("/")[2])[-40:]
  return f"{stem}-{start}-{record.digest(path)[:12]}".strip("-")


def with_column(
  table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray
) -> pa.Table:
  """Return a table with a column added, or replaced if the name exists."""
  index = table.schema.get_field_index(name)
  if index < 0:
    return table.append_column(name, column)
  return table.set_column(index, name, column)


def uids(table: pa.Table) -> np.ndarray:
  """Return the UIDs of a table, UID [N]."""
  return uids_lib.records(uids_lib.column_bytes(table["uid"]))


def sortable_uids(table: pa.Table) -> np.ndarray:
  """Return the UIDs of a table, S16 [N]."""
  return uids_lib.sortable(uids_lib.column_bytes(table["uid"]))


def uid_column(uids: np.ndarray) -> pa.Array:
  """Return the column of UIDs of any form."""
  buffer = pa.py_buffer(uids_lib.as_bytes(uids).tobytes())
  return pa.Array.from_buffers(UID_TYPE, len(uids), [None, buffer])


def places(rows: np.ndarray | None) -> np.ndarray | None:
  """Return the distinct examples of ascending rows; None for None."""
  if rows is None:
    return None
  examples = rows >> CAPTION_BITS
  return examples[np.flatnonzero(np.diff(examples, prepend=-1))]
