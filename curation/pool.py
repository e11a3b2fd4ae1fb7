"""The pairs that a curation begins with, in shards.

A shard is the unit of work, of retry and of resume: a tar, some row groups of
a Parquet file, a range of a file of JSON lines. It is read as Arrow tables with
the columns that are asked for:

  uid       fixed_size_binary(16): input_pipeline.sources.record.UID, high half
            first, big-endian
  row       int64: of the pair in its shard, ascending
  text      string, as in the file
  language  string (ISO 639-1; "und" where nobody knows)
  image     binary: encoded, in any format of input_pipeline.image_ops.decode
  width, height   int32: pixels of the image before anyone made it smaller
                  (original_width where the files have it)
  url, sha256, ...   any other column that the files have
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

UID_TYPE = pa.binary(16)
# Rows of a table with images, and without.
IMAGE_ROWS = 256
TEXT_ROWS = 16_384


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
    """Return all shards, in the order of the files."""
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
      columns: beside `uid` and `row`, which are always there.
      max_rows: of a table; a table is not empty.
      rows: int64, ascending: only these are read. None for all.
    """
    ...
