"""Layout of a Parquet file: its columns by their use, and its row groups."""

import collections
import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import columns, source_config
from input_pipeline.sources.arrow import arrow_values, parquet_types
from input_pipeline.storage import file_kinds, files, uids
from runtime import progress
from runtime.storage import remote

# Column of img2dataset, and its value for an image that was downloaded.
_STATUS = "status"
_SUCCESS = ("success", b"success")
# Bytes of a Parquet file with the shortest footer: two marks and its length.
_LEAST_BYTES = 12
# Footers read at once, and number of files from which on progress is shown.
_NUM_OPENED = 16
_NUM_SHOWN = 1000


class Layout(NamedTuple):
  """Columns that matter.

  Attributes:
    columns: columns by their use.
    read: parts of the columns in the first file; "image.bytes" is of a struct.
    status: ("status",) for a file whose rows may be no examples, else ().
  """

  columns: columns.Columns
  read: tuple[str, ...]
  status: tuple[str, ...]


class Footer(NamedTuple):
  """Content of one file.

  Attributes:
    names: names of all columns, and dotted ones of fields in structs.
    repeated: those that are there more than once, and cannot be read.
    counts: number of rows, or of examples, in each row group.
    sizes: uncompressed bytes of each row group; captions are negligible beside
      images.
    num_failed: number of rows that are no examples by their status.
  """

  names: frozenset[str]
  repeated: frozenset[str]
  counts: list[int]
  sizes: list[int]
  num_failed: int = 0


@contextlib.contextmanager
def opened(
  path: str, footer: Any = None, buffer_size: int = 0
) -> Iterator[Any]:
  """Yield a pyarrow.parquet.ParquetFile; its footer is read if not given.

  With a buffer, columns are read piece by piece, not at once.
  """
  from pyarrow import parquet

  with contextlib.ExitStack() as stack:
    source = path
    if remote.is_remote(path):
      source = stack.enter_context(files.open_file(path))
    yield stack.enter_context(
      parquet.ParquetFile(
        source,
        metadata=footer,
        buffer_size=buffer_size,
        pre_buffer=not buffer_size,
        # Verified in files that have checksums.
        page_checksum_verification=True,
      )
    )


def read_footers(
  found: Sequence[files.File],
  source: source_config.SourceConfig,
  field: str,
  *,
  needs_image: bool = True,
) -> tuple[Layout, list[Footer]]:
  """Return the layout that all files have, and their footers.

  Args:
    found: files.
    source: section of the source.
    field: field of the section, for messages.
    needs_image: whether rows are trained on. Curation also reads tables without
      an image, and then counts all rows, not only examples.

  Raises:
    ValueError: names the field, for a file without such columns.
  """

  def read(file: files.File) -> tuple[Layout | None, Footer]:
    try:
      return _read(file.path, source, field, needs_image)
    except ValueError:
      if len(found) > 1 and _has_no_rows(file.path):
        return None, Footer(frozenset(), frozenset(), [], [])
      raise

  layout, footers, first = None, [], ""
  with contextlib.ExitStack() as stack:
    threads = stack.enter_context(
      concurrent.futures.ThreadPoolExecutor(_NUM_OPENED)
    )
    bar = None
    if len(found) >= _NUM_SHOWN:
      bar = stack.enter_context(
        progress.Progress("Reading Parquet footers", len(found))
      )
    for file, (other, footer) in zip(
      found, threads.map(read, found), strict=True
    ):
      footers.append(footer)
      if bar is not None:
        bar.advance()
      if other is None:
        continue
      layout, first = layout or other, first or file.path
      if (other.columns, other.status) != (layout.columns, layout.status):
        raise ValueError(
          f"{field}.path: {file.path} has other columns than {first}, "
          f"of which {_listed(layout)} are read; of {sorted(footer.names)} it "
          f"would be {_listed(other)}"
        )
  if layout is None:
    raise ValueError(f"{field}.path: {source.path} has no rows to use")
  # A file without rows, whatever its columns, has those of the others.
  names = next(footer for footer in footers if footer.names)
  empty = names._replace(counts=[], sizes=[], num_failed=0)
  return layout, [footer if footer.names else empty for footer in footers]


def _has_no_rows(path: str) -> bool:
  import pyarrow

  try:
    with opened(path) as reader:
      return reader.metadata.num_rows == 0
  except (pyarrow.ArrowException, OSError):
    return False


def _read(
  path: str, source: source_config.SourceConfig, field: str, needs_image: bool
) -> tuple[Layout, Footer]:
  import pyarrow

  try:
    with opened(path) as reader:
      schema = reader.schema_arrow
      layout = of_schema(
        schema,
        dataclasses.replace(source, path=path),
        field,
        needs_image=needs_image,
      )
      groups = range(reader.metadata.num_row_groups)
      rows = [reader.metadata.row_group(number) for number in groups]
      counts = [row.num_rows for row in rows]
      if needs_image and layout.status:
        counts = [_num_examples(reader, number, layout) for number in groups]
      sizes = [row.total_byte_size for row in rows]
      numbers = collections.Counter(_names(schema, ()))
      repeated = frozenset(name for name in numbers if numbers[name] > 1)
      num_failed = reader.metadata.num_rows - sum(counts)
      return layout, Footer(
        frozenset(numbers), repeated, counts, sizes, num_failed
      )
  except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
    text = _kind_of_file(path) or str(error).splitlines()[0]
    raise ValueError(
      f"{field}.path: {path} cannot be read as Parquet: {text}"
    ) from error


def _kind_of_file(path: str) -> str:
  """Return what is wrong with a file as a whole, "" if that is not known."""
  try:
    size = files.facts(path).size
    start = files.read_range(path, 0, min(size, file_kinds.NUM_BYTES))
    stop = files.read_range(path, max(0, size - 4), size)
  except (OSError, faults.ExampleError):
    return ""
  if stop == b"PARE":
    return "its footer is encrypted, and keys are not supported"
  if start.startswith(b"PAR1"):
    return (
      ""
      if stop == b"PAR1" and size >= _LEAST_BYTES
      else f"it ends after {size} bytes without a footer, as one cut short"
    )
  kind = file_kinds.describe(start)
  return f"it is {kind}" if kind else f"it begins with {start[:16]!r}"


def examples(table: Any, layout: Layout) -> np.ndarray | None:
  """Return the rows of a row group that are examples, None for all."""
  if not layout.status:
    return None
  return np.flatnonzero(
    [value in _SUCCESS for value in table[_STATUS].to_pylist()]
  )


def of_schema(
  schema: Any,
  source: source_config.SourceConfig,
  field: str,
  *,
  needs_image: bool = True,
) -> Layout:
  """Return the layout of a schema; raises as `read_footers` does.

  Args:
    schema: schema of a file.
    source: section of the source, with the path of the file.
    field: field of the section, for messages.
    needs_image: as of `read_footers`.
  """
  uid = source.uid.removeprefix(uids.IN_FILE)
  wanted = (*source.image, *source.caption, source.language_field, uid)
  try:
    found = columns.choose(
      source, _names(schema, wanted), field, needs_image=needs_image
    )
  except ValueError as error:
    about = "" if source.path in str(error) else f", in {source.path}"
    raise ValueError(f"{error}{about}") from error
  # Files of img2dataset have both; in others a status may have another meaning.
  status = ()
  if {_STATUS, "error_message"} <= set(schema.names):
    status = (_STATUS,)
  for name in (*found.names, *status):
    base, _ = arrow_values.located(schema.names, name)
    if (number := schema.names.count(base)) > 1:
      raise ValueError(
        f"{field}.path: {source.path} has the column {base} {number} times, "
        f"among {schema.names}; expected it once"
      )
  parquet_types.check(found, schema, source.path, field)
  read = parts(schema, (*found.names, *status), found.image)
  return Layout(found, read, status)


def parts(schema: Any, names: Sequence[str], image: str) -> tuple[str, ...]:
  """Return the parts of a file's columns to read, of structs only some."""
  import pyarrow

  wanted = []
  for name in names:
    base, rest = arrow_values.located(schema.names, name)
    part, kind = (base,), schema.field(base).type
    while rest and pyarrow.types.is_struct(kind):
      inner, rest = arrow_values.located([x.name for x in kind], rest)
      part, kind = (*part, inner), kind.field(inner).type
    if name == image and pyarrow.types.is_struct(kind):
      fields = {x.name for x in kind}
      wanted += [(*part, x) for x in parquet_types.IMAGE_FIELDS if x in fields]
    else:
      wanted.append(part)
  return tuple(
    ".".join(part)
    for part in dict.fromkeys(wanted)
    # Without the parts of a column that is read as a whole.
    if not any(part[:length] in wanted for length in range(1, len(part)))
  )


def _names(schema: Any, wanted: Sequence[str]) -> list[str]:
  """Return the names of columns, and dotted ones of what is in them.

  Args:
    schema: schema of a file.
    wanted: names that may be of what a schema does not list: entries of maps
      and of JSON, fields of structs in lists.
  """
  names, known = list(schema.names), set(schema.names)
  for column in schema:
    names += [x for x in _inner(column.name, column.type) if x not in known]
  for name in wanted:
    base, rest = arrow_values.located(schema.names, name)
    if rest and name not in names and _reaches(schema.field(base).type, rest):
      names.append(name)
  return names


def _inner(name: str, kind: Any) -> Iterator[str]:
  """Yield the dotted names of a struct's fields, but not of an image's."""
  import pyarrow

  if not pyarrow.types.is_struct(kind):
    return
  if any(field.name in parquet_types.IMAGE_FIELDS for field in kind):
    return
  for field in kind:
    yield f"{name}.{field.name}"
    yield from _inner(f"{name}.{field.name}", field.type)


def _reaches(kind: Any, path: str) -> bool:
  """Return whether values of a type may have something at a path."""
  import pyarrow

  if isinstance(kind, pyarrow.BaseExtensionType):
    kind = kind.storage_type
  if pyarrow.types.is_dictionary(kind) or arrow_values.is_list(kind):
    return _reaches(kind.value_type, path)
  if pyarrow.types.is_struct(kind):
    name, rest = arrow_values.located([field.name for field in kind], path)
    if not name or not rest:
      return bool(name)
    return _reaches(kind.field(name).type, rest)
  return (
    pyarrow.types.is_null(kind)
    or pyarrow.types.is_map(kind)
    or arrow_values.is_decodable(kind)
  )


def _listed(layout: Layout) -> str:
  return ", ".join((*layout.columns.names, *layout.status))


def _num_examples(reader: Any, number: int, layout: Layout) -> int:
  # Not by the column's statistics: with a broken footer, pyarrow 26 crashes the
  # process at `row_group(number).column(index)`.
  rows = examples(reader.read_row_group(number, columns=[_STATUS]), layout)
  return len(rows) if rows is not None else 0
