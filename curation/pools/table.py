"""One table of JSON lines, CSV or TSV, that training reads too.

A shard is some of its rows, about SHARD_BYTES. What a table is:
input_pipeline.sources.tables.table. For many files of JSON lines there is
jsonl.py.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation import pool
from curation.pools import lines, pair_tables, section
from curation.pools import rows as rows_lib
from input_pipeline.sources import source_config
from input_pipeline.sources.tables import table as source_lib
from input_pipeline.sources.tables import table_layout
from input_pipeline.storage import files

SHARD_BYTES = 64 << 20
# Read at once; a table of the rows is not larger either.
_READ_BYTES = 4 << 20


def open_pool(config: pool.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the rows of a table; finds where they begin the first time."""
  section.refuse(config, "split")
  source = section.source(config)
  records = source_lib.open_table(
    source, section.FIELD, cache_dir, needs_image=False
  )
  source_lib.warn_of_brackets(records, section.FIELD)
  form = lines.form(records.layout, list(records.first_rows()))
  version, shards, start = records.fingerprint(), [], 0
  while start < len(records):
    limit = int(records.starts[start]) + SHARD_BYTES
    stop = int(np.searchsorted(records.starts, limit, "right")) - 1
    stop = max(stop, start + 1)
    name = pool.shard_name(records.path, start)
    shards.append(pool.Shard(name, records.path, start, stop, version))
    start = stop
  table = rows_lib.Layout(
    records.layout.columns,
    config.language,
    form.names,
    config.image_root,
    config.languages,
  )
  return Pool(source, cache_dir, form, table, tuple(shards))


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pool of the rows of one table; see pool.Pool.

  Attributes:
    source: section of the source.
    cache_dir: folder of the index.
    form: reader of rows.
    table: roles of the columns.
    shards: ranges of rows.
  """

  source: source_config.SourceConfig
  cache_dir: pathlib.Path
  form: lines.Form
  table: rows_lib.Layout
  shards: tuple[pool.Shard, ...]

  @property
  def columns(self) -> frozenset[str]:
    """Return what can be asked for."""
    return self.table.known

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard; see pool.Pool."""
    records = _opened(self.source, self.cache_dir)
    section.check_same(shard, records.fingerprint())
    records.check_unchanged()
    reader = rows_lib.Reader(self.table, records.folder, columns, rows)
    places = reader.chosen(0, shard.stop - shard.start)
    for some in _parts(places, records.starts, shard.start, max_rows):
      begins = records.starts[some + shard.start].astype(np.int64)
      ends = records.starts[some + shard.start + 1].astype(np.int64)
      data = files.read_range(records.path, int(begins[0]), int(ends[-1]))
      found, problems = self.form.read(
        data,
        begins - begins[0],
        ends - begins[0],
        self._names(reader),
        where=lambda number, first=some + shard.start: records.where(
          int(first[number])
        ),
      )
      made, _ = reader.pairs(
        found,
        some,
        functools.partial(self._key, found, problems, some + shard.start),
        problems,
      )
      yield from pair_tables.cut(made, max_rows)

  def image_of(self, shard: pool.Shard, index: int) -> str:
    """Return the path of the image that a row of a shard names."""
    records = _opened(self.source, self.cache_dir)
    row = records.row(shard.start + index)
    return f"{records.folder}/{row.get(self.table.columns.image)}"

  def _names(self, reader: rows_lib.Reader) -> list[str]:
    """Return the columns to read: an image's name may be in its key."""
    names = list(reader.names)
    found = self.table.columns
    if found.named_by and found.named_by not in names:
      names.append(found.named_by)
    return names

  def _key(
    self, found: pa.Table, problems: pa.Array, indices: np.ndarray, row: int
  ) -> str:
    """Return the key of a row that has none."""
    index = int(indices[row])
    if problems[row].is_valid:
      return table_layout.broken_key(index)
    column = self.table.columns.named_by
    name = found[column][row].as_py() if column else None
    return self.form.layout.unnamed_key(index, name)

  def __reduce__(self):
    return Pool, (self.source, self.cache_dir, self.form, self.table, ())


@functools.lru_cache(maxsize=2)
def _opened(
  source: source_config.SourceConfig, cache_dir: pathlib.Path
) -> source_lib.Records:
  return source_lib.open_table(
    source, section.FIELD, cache_dir, needs_image=False
  )


def _parts(
  places: np.ndarray, starts: np.ndarray, first: int, max_rows: int
) -> Iterator[np.ndarray]:
  """Yield rows that are read together."""
  begins = starts[first + places].astype(np.int64)
  ends = starts[first + places + 1].astype(np.int64)
  done = 0
  while done < len(places):
    limit = begins[done] + _READ_BYTES
    stop = int(np.searchsorted(ends, limit, "right"))
    stop = min(max(stop, done + 1), done + max_rows)
    yield places[done:stop]
    done = stop
