"""Many files of JSON lines: captions, and where their images are if at all.

A shard is the lines that begin in SHARD_BYTES of a file, so nothing is read to
know the shards. A line without a key is named by its file and where it begins;
its key is in `pool.uid`, `uid` or `key`.
"""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation import pool
from curation.pools import lines, pair_tables, section
from curation.pools import rows as rows_lib
from input_pipeline.sources import columns as columns_lib
from input_pipeline.sources import named_file, table_index, table_layout
from input_pipeline.storage import files

SHARD_BYTES = 64 << 20
# Read at once; a line may be longer.
_READ_BYTES = 4 << 20
_NEWLINE = 10


def open_pool(config: pool.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the lines of all files; reads the first few of the first."""
  del cache_dir
  section.refuse(config, "split")
  field = f"{section.FIELD}.path"
  found = [file for file in files.find(config.path, field) if file.size]
  if not found:
    raise ValueError(f"{field}: {config.path} has no lines")
  head = files.read_range(found[0].path, 0, min(found[0].size, 1 << 16))
  try:
    table_index.check_kind(head)
  except ValueError as error:
    raise ValueError(f"{field}: {found[0].path}: {error}") from error
  rows = _first_rows(found[0])
  names = sorted({name for row in rows for name in row})
  if not names:
    raise ValueError(f"{field}: {found[0].path} begins with no JSON objects")
  columns = columns_lib.choose(
    section.source(config), names, section.FIELD, needs_image=False
  )
  if (
    columns.key is None and "uid" in names and config.uid != columns_lib.BY_ROW
  ):
    columns = dataclasses.replace(columns, key="uid")
  form = lines.form(table_layout.Layout(columns), rows)
  shown = columns_lib.names_from_common([file.path for file in found])
  shards = tuple(
    pool.Shard(
      name=pool.shard_name(file.path, start),
      path=file.path,
      start=start,
      stop=min(start + SHARD_BYTES, file.size),
      version=section.version_of(file),
    )
    for file in found
    for start in range(0, file.size, SHARD_BYTES)
  )
  table = rows_lib.Layout(
    columns, config.language, form.names, config.image_root, config.languages
  )
  root_length = len(found[0].path) - len(shown[0])
  return Pool(form, table, root_length, shards)


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pool of JSON lines in many files; see pool.Pool.

  Attributes:
    form: reader of lines.
    table: roles of the columns.
    root_length: length of the folder prefix that all paths share; keys are
      built from the rest of the path.
    shards: ranges of bytes.
  """

  form: lines.Form
  table: rows_lib.Layout
  root_length: int
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
    section.check_unchanged(shard)
    folder = named_file.folder_of(self.table.image_root, shard.path)
    reader = rows_lib.Reader(self.table, folder, columns, rows)
    names = [*reader.names]
    first = num_before = 0
    for offset, data in _blocks(shard):
      starts = _starts(data)
      stop = first + len(starts) - 1
      chosen = reader.chosen(first, stop)
      for begin in range(0, len(chosen), max_rows):
        some = chosen[begin : begin + max_rows]
        begins = starts[some]
        found, problems = self.form.read(
          data,
          begins,
          starts[some + 1],
          names,
          where=functools.partial(_where, shard, data, num_before, begins),
        )
        made, _ = reader.pairs(
          found,
          some + first,
          functools.partial(self._key, shard, begins + offset),
          problems,
          shard.path[self.root_length :],
        )
        yield from pair_tables.cut(made, max_rows)
      first = stop
      num_before += data.count(b"\n")

  def _key(self, shard: pool.Shard, starts: np.ndarray, row: int) -> str:
    """Return the key of a line that has none."""
    return f"{shard.path[self.root_length :]}:{starts[row]}"

  def __reduce__(self):
    return Pool, (self.form, self.table, self.root_length, ())


def _where(
  shard: pool.Shard,
  data: bytes,
  num_before: int,
  starts: np.ndarray,
  number: int,
) -> str:
  """Return the name of a line in messages, by its number in `starts`."""
  line = num_before + data.count(b"\n", 0, int(starts[number])) + 1
  # Lines before the shard are not read, and so not counted.
  after = f" from byte {shard.start} on" if shard.start else ""
  return f"line {line}{after} of {shard.path}"


def _first_rows(file: files.File) -> list:
  """Return those of a file's first lines that are objects."""
  shard = pool.Shard("", file.path, 0, file.size, "")
  for _, data in _blocks(shard):
    starts = _starts(data)[: columns_lib.NUM_PROBED + 1].tolist()
    rows = []
    for start, stop in itertools.pairwise(starts):
      with contextlib.suppress(ValueError):
        rows.append(table_layout.row(data[start:stop]))
    return rows
  return []


def _blocks(shard: pool.Shard) -> Iterator[tuple[int, bytes]]:
  """Yield (offset, whole lines) of the lines that begin in a shard."""
  size = int(shard.version.partition("/")[0] or shard.stop)
  # From the byte before: if that ends a line, another begins here.
  place = max(shard.start - 1, 0)
  rest, is_skipping = b"", shard.start > 0
  while place < size:
    stop = min(place + _READ_BYTES, size)
    data = files.read_range(shard.path, place, stop)
    place = stop
    if is_skipping:
      cut = data.find(b"\n")
      if cut < 0:
        continue
      is_skipping, data = False, data[cut + 1 :]
    data = rest + data
    offset = place - len(data)
    if offset >= shard.stop:
      return
    if place >= shard.stop:
      # The line that has the shard's last byte is its last.
      last = data.find(b"\n", max(shard.stop - 1 - offset, 0))
      if last >= 0 or place == size:
        yield offset, data if last < 0 else data[: last + 1]
        return
    last = data.rfind(b"\n") + 1
    # Lines to their end, but for one that is longer than what is read.
    if place == size:
      last = len(data)
    if last:
      yield offset, data[:last]
    rest = data[last:]


def _starts(data: bytes) -> np.ndarray:
  """Return where lines with anything in them begin, and the end of the last.

  Blank lines are part of the line before, where JSON has no use for them.
  """
  ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1
  starts = np.concatenate([[0], ends])
  if starts[-1] < len(data):
    starts = np.concatenate([starts, [len(data)]])
  lengths = np.diff(starts)
  # A JSON object has at least two bytes beside the end of its line.
  blank = [
    i
    for i in np.flatnonzero(lengths < 8).tolist()
    if data[starts[i] : starts[i + 1]].isspace()
  ]
  return np.delete(starts, blank)
