"""Parquet files of pairs: img2dataset's, Hugging Face's, DataComp's metadata.

A shard is some row groups of a file, about SHARD_ROWS rows. Image, captions and
key are the columns that training's source has; see
input_pipeline.sources.parquet. Files without images, which only curation reads,
may have the key in `uid`. An .npz file of the same name gives more columns; see
embeddings.py.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import pool, recipe
from curation.formats import captions, embeddings, pairs, section, uids
from input_pipeline import faults, progress
from input_pipeline.sources import files, named_file, parquet_layout
from input_pipeline.sources import parquet as source_lib

# Rows of a shard, at least one row group: what a failure costs.
SHARD_ROWS = 100_000
# Of a column, decoded piece by piece.
_BUFFER_BYTES = 1 << 20
# Footers, or images that rows name, that are read at once.
_NUM_OPENED = 16
# Number of files from which on reading footers takes long enough to be shown.
_NUM_SHOWN = 1000


def open_pool(config: recipe.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the rows of all files; reads their footers."""
  del cache_dir
  section.refuse(config, "split", "languages")
  found = files.find(config.path, f"{section.FIELD}.path")
  footers = _footers(config, found)
  layout, names, _ = footers[0]
  beside = _files_beside(config.path)
  first = beside.get(_stem(found[0].path))
  arrays = ()
  if first is not None:
    arrays = embeddings.names_of(first.path, sum(footers[0][2]))
  shards = []
  for file, (other, some, counts) in zip(found, footers, strict=True):
    if other != layout:
      raise ValueError(
        f"{section.FIELD}.path: {file.path} has other columns than "
        f"{found[0].path}: {other} and {layout}"
      )
    names &= some
    version = f"{file.size}/{file.version}"
    extra = beside.get(_stem(file.path))
    if extra is not None:
      version += f"/{extra.size}/{extra.version}"
    for start, stop in _parts(counts):
      name = pool.shard_name(file.path, start)
      shards.append(pool.Shard(name, file.path, start, stop, version))
  shown = source_lib.names_from_common([file.path for file in found])
  return Pool(
    layout=layout,
    language=config.language,
    names=frozenset(names),
    arrays=arrays,
    # What its name in keys is shorter than its path by.
    root_length=len(found[0].path) - len(shown[0]),
    shards=tuple(shards),
  )


@dataclasses.dataclass(frozen=True)
class Pool:
  """Rows of Parquet files; see pool.Pool.

  Attributes:
    layout: which columns are what.
    language: of captions whose row does not say.
    names: of columns that all files have.
    arrays: of the .npz files.
    root_length: of the part of a path that keys leave out.
    shards: ranges of row groups.
  """

  layout: parquet_layout.Layout
  language: str
  names: frozenset[str]
  arrays: tuple[str, ...]
  root_length: int
  shards: tuple[pool.Shard, ...]

  @property
  def columns(self) -> frozenset[str]:
    """Return what can be asked for."""
    found = self.names | set(pool.TYPES) | set(self.arrays)
    has_image = bool(self.layout.columns.image)
    if not has_image:
      found -= {"image"}
    for side in ("width", "height"):
      if not has_image and not self.side(side):
        found -= {side}
    return frozenset(found)

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard; see pool.Pool."""
    arrays = [name for name in columns if name in self.arrays]
    beside = f"{_stem(shard.path)}.npz" if arrays else None
    with contextlib.ExitStack() as stack:
      file = stack.enter_context(
        parquet_layout.opened(shard.path, buffer_size=_BUFFER_BYTES)
      )
      more = stack.enter_context(embeddings.opened(beside, arrays))
      counts = [
        file.metadata.row_group(number).num_rows
        for number in range(shard.stop)
      ]
      stops = np.cumsum(counts)
      # Rows of the file before the shard.
      before = int(stops[shard.start - 1]) if shard.start else 0
      reader = _Reader(self, shard, columns, rows)
      for number in range(shard.start, shard.stop):
        start = group_start = int(stops[number]) - counts[number] - before
        if not reader.wants(start, start + counts[number]):
          continue
        for batch in file.iter_batches(
          batch_size=max_rows,
          row_groups=[number],
          columns=reader.names,
          use_threads=False,
        ):
          stop = start + len(batch)
          if reader.wants(start, stop):
            table = pa.Table.from_batches([batch])
            found, places = reader.pairs(table, start, number, group_start)
            for name in arrays:
              assert more is not None
              values = more.read(name, before + start, before + stop)
              found = pairs.put(found, name, values.take(pa.array(places)))
            yield from pairs.cut(found, max_rows)
          start = stop

  def __reduce__(self):
    values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return functools.partial(Pool, **values | {"shards": ()}), ()

  def side(self, side: str) -> str:
    """Return the column of a width or height, "" where there is none."""
    names = (f"original_{side}", side)
    return next((name for name in names if name in self.names), "")


class _Reader:
  """Makes pairs of the rows of a shard."""

  def __init__(
    self,
    source: Pool,
    shard: pool.Shard,
    columns: Sequence[str],
    rows: np.ndarray | None,
  ):
    self._source = source
    self._columns = tuple(name for name in columns if name not in pool.ALWAYS)
    self._shard = shard
    self._rows = rows
    self._places = pool.places(rows)
    found = source.layout.columns
    # Later, it is known which captions are pairs.
    self._has_text = rows is None or "text" in columns
    self._sides = {
      side: source.side(side)
      for side in ("width", "height")
      if side in columns
    }
    self._is_measured = not all(self._sides.values())
    self._has_image = "image" in columns or self._is_measured
    self._others = tuple(
      name
      for name in self._columns
      if name in source.names and name not in pool.TYPES
    )
    wanted = [*self._others, *self._sides.values(), *source.layout.status]
    wanted += [found.key] if found.key else []
    wanted += found.captions if self._has_text else ()
    wanted += [found.language] if found.language else []
    if self._has_image:
      wanted += [
        name
        for name in source.layout.read
        if name.partition(".")[0] == found.image
      ]
    names = tuple(dict.fromkeys(name for name in wanted if name))
    # Where nothing is read, a column still says how many rows there are.
    self.names = names or (sorted(source.names)[0],)

  def wants(self, start: int, stop: int) -> bool:
    """Return whether any pair of some rows of the shard is wanted."""
    if self._places is None:
      return True
    first, last = np.searchsorted(self._places, [start, stop])
    return first < last

  def pairs(
    self, table: pa.Table, start: int, group: int, group_start: int
  ) -> tuple[pa.Table, np.ndarray]:
    """Return the pairs of rows, and the row in `table` that each is of.

    Args:
      table: of the file's columns.
      start: place of its first row in the shard.
      group: number of its row group in the file.
      group_start: place of the row group's first row in the shard.
    """
    rows, numbers, text, problems = self._captions(table, start)
    if self._source.layout.status:
      found = parquet_layout.examples(table, self._source.layout)
      is_example = np.zeros(len(table), bool)
      is_example[found] = True
      keep = np.flatnonzero(is_example[rows])
      rows, numbers = rows[keep], numbers[keep]
      text, problems = (x.take(pa.array(keep)) for x in (text, problems))
    # Each example once: captions of one image share it.
    examples, index = np.unique(rows, return_inverse=True)
    some = table.take(pa.array(examples))
    keys = self._uids(some, examples + start - group_start, group, index)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
      "uid": keys,
      "row": pa.array(rows + start << pool.CAPTION_BITS | numbers),
      "fault": problems,
    }
    again = pa.array(index)
    for name in self._columns:
      if name == "text":
        columns[name] = text
      elif name == "caption":
        columns[name] = pa.array(numbers, pa.int32())
      elif name == "language":
        columns[name] = self._languages(some).take(again)
      elif name in self._others:
        columns[name] = _plain(some[name]).take(again)
    if self._has_image:
      images, messages = self._images(some)
      columns["image"] = images.take(again)
      columns["fault"] = pc.coalesce(columns["fault"], messages.take(again))
    made = pa.table(columns)
    for side, name in self._sides.items():
      if name and not self._is_measured:
        made = _sided(made, side, some[name].take(again), name)
    if self._is_measured:
      made = pairs.sized(made, self._columns)
    return made.select([*pool.ALWAYS, *self._present(made)]), rows

  def _present(self, made: pa.Table) -> list[str]:
    return [name for name in self._columns if name in made.column_names]

  def _captions(
    self, table: pa.Table, start: int
  ) -> tuple[np.ndarray, np.ndarray, pa.Array, pa.Array]:
    """Return row in the table, number, text and fault of each pair."""
    if self._rows is not None:
      first, last = np.searchsorted(
        self._rows >> pool.CAPTION_BITS, [start, start + len(table)]
      )
      wanted = self._rows[first:last]
    if not self._has_text:
      rows = (wanted >> pool.CAPTION_BITS) - start
      nothing = pa.nulls(len(rows), pa.string())
      numbers = wanted & (1 << pool.CAPTION_BITS) - 1
      return rows, numbers, nothing, nothing
    names = self._source.layout.columns.captions
    found = captions.read([table[name].combine_chunks() for name in names])
    if self._rows is None:
      return found.rows, found.numbers, found.texts, found.faults
    numbers = found.rows + start << pool.CAPTION_BITS | found.numbers
    keep = np.flatnonzero(np.isin(numbers, wanted))
    kept = pa.array(keep)
    return (
      *(found.rows[keep], found.numbers[keep]),
      *(found.texts.take(kept), found.faults.take(kept)),
    )

  def _uids(
    self, some: pa.Table, places: np.ndarray, group: int, index: np.ndarray
  ) -> pa.Array:
    """Return the UIDs of pairs: of examples at places of a row group."""
    file = self._shard.path[self._source.root_length :]

    def positional(place: int) -> str:
      return f"{file}:{group}:{places[place]}"

    name = self._source.layout.columns.key
    if name is None:
      keys = pa.nulls(len(some), pa.string())
    else:
      keys = _plain(some[name]).combine_chunks()
    return pool.uid_column(uids.of_keys(keys, positional)[index])

  def _languages(self, some: pa.Table) -> pa.Array:
    name = self._source.layout.columns.language
    if name is None:
      return pa.array([self._source.language] * len(some), pa.string())
    found, _ = uids.valid(_plain(some[name]).combine_chunks())
    found = found.cast(pa.string())
    is_given = pc.fill_null(pc.greater(pc.binary_length(found), 0), False)
    return pc.if_else(is_given, found, self._source.language)

  def _images(self, some: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return encoded images, and what is wrong with those there are not."""
    column = some[self._source.layout.columns.image].combine_chunks()
    if uids.is_bytes(column.type):
      images = column.cast(pa.binary())
      lacks = pc.equal(pc.fill_null(pc.binary_length(images), 0), 0)
      message = f"image_missing: no {self._source.layout.columns.image}"
      messages = pc.if_else(lacks, message, pa.scalar(None, pa.string()))
      return images, messages
    folder = self._shard.path.rpartition("/")[0] or "."

    def read(value: Any) -> tuple[bytes | None, str | None]:
      if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
      if isinstance(value, bytes) and value:
        return value, None
      return named(value, folder)

    with concurrent.futures.ThreadPoolExecutor(_NUM_OPENED) as threads:
      found = list(threads.map(read, column.to_pylist()))
    return (
      pa.array([image for image, _ in found], pa.binary()),
      pa.array([message for _, message in found], pa.string()),
    )


def named(name: Any, folder: str) -> tuple[bytes | None, str | None]:
  """Return the image that a row names, or what is wrong with it.

  Raises faults.ExampleError where trying again may help.
  """
  if not isinstance(name, str) or not name:
    return None, "image_missing: the row names no image"
  try:
    return named_file.read(name, folder), None
  except faults.ExampleError as error:
    if error.kind == "read_failed":
      raise
    return None, f"{error.kind}: {error}"


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
  """Return a column whose values are not in a dictionary."""
  if pa.types.is_dictionary(column.type):
    return pc.dictionary_decode(column)
  return column


def _sided(
  table: pa.Table, side: str, values: pa.ChunkedArray, name: str
) -> pa.Table:
  """Return a table with a width or height; a fault where there is none."""
  values = pc.cast(values, pa.int32(), safe=False)
  lacks = pc.is_null(values)
  message = pc.if_else(
    lacks, f"record_broken: no {name}", pa.scalar(None, pa.string())
  )
  table = pairs.put(table, side, values)
  return pairs.put(table, "fault", pc.coalesce(table["fault"], message))


def _footers(
  config: recipe.PoolConfig, found: Sequence[files.File]
) -> list[tuple[parquet_layout.Layout, set[str], list[int]]]:
  """Return layout, columns and row groups' numbers of rows of each file."""
  source = section.source(config)

  def read(file: files.File) -> tuple[parquet_layout.Layout, set[str], Any]:
    try:
      with parquet_layout.opened(file.path) as reader:
        schema, footer = reader.schema_arrow, reader.metadata
        layout = parquet_layout.of_schema(
          schema, source, section.FIELD, needs_image=False
        )
        counts = [
          footer.row_group(number).num_rows
          for number in range(footer.num_row_groups)
        ]
        return layout, set(schema.names), counts
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
      text = str(error).splitlines()[0]
      raise ValueError(
        f"{section.FIELD}.path: {file.path} cannot be read as Parquet: {text}"
      ) from error

  with contextlib.ExitStack() as stack:
    threads = stack.enter_context(
      concurrent.futures.ThreadPoolExecutor(_NUM_OPENED)
    )
    bar = None
    if len(found) >= _NUM_SHOWN:
      bar = stack.enter_context(
        progress.Progress("Reading Parquet footers", len(found))
      )
    footers = []
    for footer in threads.map(read, found):
      footers.append(footer)
      if bar is not None:
        bar.advance()
    return footers


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
