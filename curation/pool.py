"""The pairs that a curation begins with, in shards.

A shard is the unit of work, of retry and of resume: a tar, some row groups of
a Parquet file, a range of a file of JSON lines. It is read as Arrow tables with
the columns that are asked for:

  uid       fixed_size_binary(16): input_pipeline.sources.record.UID, high half
            first, big-endian; that which training's source has
  row       int64: place of the example in its shard << CAPTION_BITS | number
            of the caption; ascending, with gaps
  fault     string: "KIND: MESSAGE" (of input_pipeline.faults) where the pair
            cannot be used: then nothing else of it is known. Null elsewhere
  text      string: the caption, as training would see it
  caption   int32: number of the caption among those of its example, which are
            a pair each
  language  string (ISO 639-1; "und" where nobody knows)
  image     binary: encoded, in any format of image_ops.decode
  width, height   int32: pixels of the image before anyone made it smaller
                  (original_width where the files have it)
  url, sha256, ...   any other column that the files have

The first three are always there.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from input_pipeline.sources import record

UID_TYPE = pa.binary(16)
# Types of the columns that are not just those of the files.
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
# Those of every table.
ALWAYS = ("uid", "row", "fault")
# Lower bits of `row`: an example has at most 65,536 captions.
CAPTION_BITS = 16
# Rows of a table with images, and without.
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


@dataclasses.dataclass(frozen=True)
class Shard:
  """A part of a pool.

  Attributes:
    name: of letters, digits, "-" and "_"; no two shards of a pool share it, and
      it is the same whatever other shards there are.
    path: of its file.
    start: first row group, byte or example; what the format says.
    stop: behind the last.
    version: changes with the content (of files.File: size and version).
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

    In another process there are none: a pool is pickled without them.
    """
    ...

  @property
  def columns(self) -> frozenset[str]:
    """Return the names of the columns that can be asked for."""
    ...

  def read(
    self,
    shard: Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard in order, by at most `max_rows`.

    Args:
      shard: of this pool.
      columns: beside those that are always there.
      max_rows: of a table; a table is not empty.
      rows: int64, ascending: only these are read. None for all.
    """
    ...


def shard_name(path: str, start: int) -> str:
  """Return a name for the part of a file that begins at `start`."""
  stem = re.sub(r"[^A-Za-z0-9_]+", "-", path.rpartition("/")[2])[-40:]
  return f"{stem}-{start}-{record.digest(path)[:12]}".strip("-")


def uids(table: pa.Table) -> np.ndarray:
  """Return the UIDs of a table, record.UID [N]."""
  column = table["uid"].combine_chunks()
  if isinstance(column, pa.ChunkedArray):  # as Arrow gives one for no rows
    return np.zeros(0, record.UID)
  data = np.frombuffer(column.buffers()[1], np.uint8)
  data = data[16 * column.offset :][: 16 * len(column)]
  words = data.view(">u8").reshape(-1, 2)
  found = np.empty(len(words), record.UID)
  found["f0"], found["f1"] = words[:, 0], words[:, 1]
  return found


def uid_column(found: np.ndarray) -> pa.Array:
  """Return the column of UIDs, record.UID [N]."""
  words = np.empty((len(found), 2), ">u8")
  words[:, 0], words[:, 1] = found["f0"], found["f1"]
  buffer = pa.py_buffer(words.tobytes())
  return pa.Array.from_buffers(UID_TYPE, len(found), [None, buffer])


def places(rows: np.ndarray | None) -> np.ndarray | None:
  """Return the examples that have some of these rows, ascending."""
  if rows is None:
    return None
  found = rows >> CAPTION_BITS
  return found[np.flatnonzero(np.diff(found, prepend=-1))]
