"""Layout of a Parquet file: its columns by their use, and its row groups."""

import concurrent.futures
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from input_pipeline.sources import columns, source_config
from input_pipeline.storage import files, remote
from runtime import progress

# Column of img2dataset, and its value for an image that was downloaded.
_STATUS = "status"
_SUCCESS = "success"
# Footers read at once, and number of files from which on progress is shown.
_NUM_OPENED = 16
_NUM_SHOWN = 1000


class Layout(NamedTuple):
  """Columns that matter.

  Attributes:
    columns: columns by their use.
    read: columns to read for an example; "image.bytes" is part of a struct.
    status: ("status",) for a file whose rows may be no examples, else ().
  """

  columns: columns.Columns
  read: tuple[str, ...]
  status: tuple[str, ...]


class Footer(NamedTuple):
  """Content of one file.

  Attributes:
    names: names of all columns.
    counts: number of rows, or of examples, in each row group.
    sizes: uncompressed bytes of each row group; captions are negligible beside
      images.
  """

  names: frozenset[str]
  counts: list[int]
  sizes: list[int]


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

  def read(file: files.File) -> tuple[Layout, Footer]:
    return _read(file.path, source, field, needs_image)

  layout, footers = None, []
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
      layout = layout or other
      if other != layout:
        raise ValueError(
          f"{field}.path: {file.path} has other columns than "
          f"{found[0].path}: {other} and {layout}"
        )
      footers.append(footer)
      if bar is not None:
        bar.advance()
  assert layout is not None
  return layout, footers


def _read(
  path: str, source: source_config.SourceConfig, field: str, needs_image: bool
) -> tuple[Layout, Footer]:
  import pyarrow

  try:
    with opened(path) as reader:
      schema = reader.schema_arrow
      layout = of_schema(schema, source, field, needs_image=needs_image)
      groups = range(reader.metadata.num_row_groups)
      rows = [reader.metadata.row_group(number) for number in groups]
      counts = [row.num_rows for row in rows]
      if needs_image and layout.status:
        counts = [_num_examples(reader, number, layout) for number in groups]
      sizes = [row.total_byte_size for row in rows]
      return layout, Footer(frozenset(schema.names), counts, sizes)
  except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
    text = str(error).splitlines()[0]
    raise ValueError(
      f"{field}.path: {path} cannot be read as Parquet: {text}"
    ) from error


def examples(table: Any, layout: Layout) -> np.ndarray | None:
  """Return the rows of a row group that are examples, None for all."""
  if not layout.status:
    return None
  return np.flatnonzero(
    [value == _SUCCESS for value in table[_STATUS].to_pylist()]
  )


def of_schema(
  schema: Any,
  source: source_config.SourceConfig,
  field: str,
  *,
  needs_image: bool = True,
) -> Layout:
  """Return the layout of a schema; raises as `read` does."""
  import pyarrow

  found = columns.choose(source, schema.names, field, needs_image=needs_image)
  read = list(found.names)
  if found.image:
    read[0:1] = _image_parts(found, schema, field)
  for name in found.captions:
    kind = schema.field(name).type
    while pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
      kind = kind.value_type
    if not _is_text(kind):
      raise ValueError(
        f"{field}.caption must be text or lists of it; column {name} is "
        f"{schema.field(name).type}, of {found.about_captions}"
      )
  if found.language and not _is_text(schema.field(found.language).type):
    raise ValueError(
      f"{field}.language_field must be text; column {found.language} is "
      f"{schema.field(found.language).type}"
    )
  if found.key and _is_short_float(schema.field(found.key).type):
    raise ValueError(
      f"{field}.uid must be integers or text: column {found.key} is "
      f"{schema.field(found.key).type}, in which large numbers are the same"
    )
  # Files of img2dataset have both; in others a status may have another meaning.
  status = ()
  if {_STATUS, "error_message"} <= set(schema.names):
    status = (_STATUS,)
  return Layout(found, (*read, *status), status)


def _image_parts(found: columns.Columns, schema: Any, field: str) -> list[str]:
  """Return the parts of the image's column to read; ValueError for a type."""
  import pyarrow

  name = found.image
  kind = schema.field(name).type
  if pyarrow.types.is_struct(kind):
    parts = {part.name: part.type for part in kind}
    wanted = [part for part in ("bytes", "path") if part in parts]
    if not wanted or not _is_binary(parts.get("bytes", pyarrow.binary())):
      raise ValueError(
        f"{field}.image must be a struct of bytes and path; got {kind} in "
        f"column {found.about_image}"
      )
    return [f"{name}.{part}" for part in wanted]
  if not _is_binary(kind) and not _is_text(kind):
    raise ValueError(
      f"{field}.image must be binary, a struct of bytes and path, or the text "
      f"of a path or URL; got {kind} in column {found.about_image}"
    )
  return [name]


def _is_short_float(kind: Any) -> bool:
  import pyarrow

  return pyarrow.types.is_float16(kind) or pyarrow.types.is_float32(kind)


def _is_text(kind: Any) -> bool:
  import pyarrow

  if pyarrow.types.is_dictionary(kind):
    kind = kind.value_type
  return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def _is_binary(kind: Any) -> bool:
  import pyarrow

  return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _num_examples(reader: Any, number: int, layout: Layout) -> int:
  # Not by the column's statistics: with a broken footer, pyarrow 26 crashes the
  # process at `row_group(number).column(index)`.
  rows = examples(reader.read_row_group(number, columns=[_STATUS]), layout)
  return len(rows) if rows is not None else 0
