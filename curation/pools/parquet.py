"""Parquet files of pairs: img2dataset's, Hugging Face's, DataComp's metadata.

A shard is some row groups of a file, about SHARD_ROWS rows. Image, captions and
key are the columns that training's source has; see
input_pipeline.sources.arrow.parquet. Files without images, which only curation
reads, may have the key in `uid`. An .npz file of the same name gives more
columns; see npz_columns.py.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from absl import logging

from curation import pool
from curation.pools import npz_columns, pair_tables, section
from curation.pools import rows as rows_lib
from input_pipeline.sources import columns as columns_lib
from input_pipeline.sources import named_file
from input_pipeline.sources.arrow import arrow_values, parquet_layout
from input_pipeline.storage import files

# Rows of a shard, at least one row group: a failure repeats one shard.
SHARD_ROWS = 100_000
# Bytes of a column that are decoded at once.
_BUFFER_BYTES = 1 << 20
# Columns that a warning names.
_NUM_NAMED = 20


def open_pool(config: pool.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the rows of all files; reads their footers."""
  del cache_dir
  section.refuse(config, "split")
  found = files.find(config.path, f"{section.FIELD}.path")
  layout, footers = parquet_layout.read_footers(
    found, section.source(config), section.FIELD, needs_image=False
  )
  names = _common(found, footers)
  beside = _files_beside(config.path)
  first = beside.get(_stem(found[0].path))
  arrays = ()
  if first is not None:
    try:
      arrays = npz_columns.names_of(first.path, sum(footers[0].counts))
    except ValueError as error:
      raise ValueError(f"{section.FIELD}.path: {error}") from error
  shards = []
  for file, footer in zip(found, footers, strict=True):
    extra = beside.get(_stem(file.path))
    version = section.version_of(*filter(None, (file, extra)))
    for start, stop in _parts(footer.counts):
      name = pool.shard_name(file.path, start)
      shards.append(pool.Shard(name, file.path, start, stop, version))
  shown = columns_lib.names_from_common([file.path for file in found])
  return Pool(
    layout=layout,
    table=rows_lib.Layout(
      layout.columns,
      config.language,
      names,
      config.image_root,
      config.languages,
    ),
    arrays=arrays,
    # Keys have paths without the folder that all files share.
    root_length=len(found[0].path) - len(shown[0]),
    shards=tuple(shards),
  )


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pool of rows of Parquet files; see pool.Pool.

  Attributes:
    layout: roles of the columns, and the rows that are examples.
    table: columns that all files have.
    arrays: names of the arrays in the .npz files.
    root_length: length of the folder prefix that all paths share; keys are
      built from the rest of the path.
    shards: ranges of row groups.
  """

  layout: parquet_layout.Layout
  table: rows_lib.Layout
  arrays: tuple[str, ...]
  root_length: int
  shards: tuple[pool.Shard, ...]

  @property
  def columns(self) -> frozenset[str]:
    """Return what can be asked for."""
    return self.table.known | set(self.arrays)

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard; see pool.Pool."""
    section.check_unchanged(shard)
    arrays = [name for name in columns if name in self.arrays]
    beside = f"{_stem(shard.path)}.npz" if arrays else None
    with contextlib.ExitStack() as stack:
      file = stack.enter_context(
        parquet_layout.opened(shard.path, buffer_size=_BUFFER_BYTES)
      )
      more = stack.enter_context(
        npz_columns.opened(beside, arrays, file.metadata.num_rows)
      )
      counts = [
        file.metadata.row_group(number).num_rows for number in range(shard.stop)
      ]
      stops = np.cumsum(counts)
      # Rows of the file before the shard.
      before = int(stops[shard.start - 1]) if shard.start else 0
      folder = named_file.folder_of(self.table.image_root, shard.path)
      reader = rows_lib.Reader(self.table, folder, columns, rows)
      for number in range(shard.start, shard.stop):
        start = int(stops[number]) - counts[number] - before
        if not reader.wants(start, start + counts[number]):
          continue
        for batch in file.iter_batches(
          batch_size=max_rows,
          row_groups=[number],
          columns=self._read(file.schema_arrow, reader.names),
          use_threads=False,
        ):
          stop = start + len(batch)
          if reader.wants(start, stop):
            table = pa.Table.from_batches([batch])
            group_start = int(stops[number]) - counts[number] - before
            found, places = self._pairs(
              reader, table, start, f"{shard.path}:{number}", group_start
            )
            for name in arrays:
              assert more is not None
              values = more.read(name, before + start, before + stop)
              found = pool.with_column(
                found, name, values.take(pa.array(places))
              )
            yield from pair_tables.cut(found, max_rows)
          start = stop

  def _pairs(
    self,
    reader: rows_lib.Reader,
    table: pa.Table,
    start: int,
    group: str,
    group_start: int,
  ) -> tuple[pa.Table, np.ndarray]:
    """Return the pairs of rows, and the row in `table` that each is of."""
    table = pa.table(
      {
        name: arrow_values.plain(table[name], keeps_json=True)
        for name in table.column_names
      }
    )
    places = np.arange(start, start + len(table))
    examples = parquet_layout.examples(table, self.layout)
    if examples is not None:
      table, places = table.take(pa.array(examples)), places[examples]
    shown = group[self.root_length :]
    found, rows = reader.pairs(
      *(table, places),
      lambda row: f"{shown}:{places[row] - group_start}",
      file=shown.rpartition(":")[0],
    )
    return found, rows if examples is None else examples[rows]

  def _read(self, schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """Return the parts of columns to read, of the image's struct only some."""
    wanted = (*names, *self.layout.status)
    found = parquet_layout.parts(schema, wanted, self.layout.columns.image)
    # Where nothing is read, a column still says how many rows there are.
    return [*found] or [min(self.table.names & set(schema.names))]

  def __reduce__(self):
    values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return functools.partial(Pool, **values | {"shards": ()}), ()


def _common(
  found: Sequence[files.File], footers: Sequence[parquet_layout.Footer]
) -> frozenset[str]:
  """Return the columns that all files have once; warn of the others."""
  names = frozenset.intersection(
    *(footer.names - footer.repeated for footer in footers)
  )
  others = frozenset.union(*(footer.names for footer in footers)) - names
  if others:
    one = min(others)
    path, times = next(
      (file.path, "twice" if one in footer.repeated else "not")
      for file, footer in zip(found, footers, strict=True)
      if one not in footer.names - footer.repeated
    )
    logging.warning(
      "pool.path: no step can read the columns %s, which not every file has"
      " once; %s is %s in %s",
      *(sorted(others)[:_NUM_NAMED], one, times, path),
    )
  return names


def _files_beside(pattern: str) -> Mapping[str, files.File]:
  """Return the .npz files beside Parquet files, by their paths' stems."""
  if not pattern.endswith(".parquet"):
    return {}
  try:
    found = files.find(f"{_stem(pattern)}.npz", f"{section.FIELD}.path")
  except ValueError:
    return {}
  return {_stem(file.path): file for file in found}


def _stem(path: str) -> str:
  return path.rpartition(".")[0]


def _parts(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
  """Yield ranges of row groups, none with many more rows than SHARD_ROWS."""
  start = num_rows = 0
  for number, count in enumerate(counts):
    if num_rows and num_rows + count > SHARD_ROWS:
      yield start, number
      start, num_rows = number, 0
    num_rows += count
  if num_rows:
    yield start, len(counts)
