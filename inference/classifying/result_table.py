"""Tables of results, written row by row: CSV, Parquet or JSON lines.

Rows are held a part at a time. The file is written whole or not at all.
"""

import contextlib
import csv
import io
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from runtime.storage import strict_json, whole_files

# Rows of a part.
_NUM_ROWS = 8192
# Key of the facts in the metadata of a Parquet file.
FACTS = b"diptych"


class Format(Protocol):
  """Writer of parts of one format."""

  def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows."""
    ...

  def finish(self, facts: Mapping[str, Any]) -> None:
    """Add facts about the rows, in formats that have a place for them."""
    ...

  def close(self) -> None:
    """End the file, whole or not."""
    ...


class Writer:
  """Writer of a table; rows have the fields of its schema."""

  def __init__(self, file: BinaryIO, suffix: str, schema: pa.Schema):
    self._format = FORMATS[suffix](file, schema)
    self._rows: list[Mapping[str, Any]] = []
    self.num_rows = 0

  def add(self, row: Mapping[str, Any]) -> None:
    """Add a row."""
    self._rows.append(row)
    self.num_rows += 1
    if len(self._rows) == _NUM_ROWS:
      self.flush()

  def finish(self, facts: Mapping[str, Any]) -> None:
    """Write the rows that are left; Parquet has the facts in its metadata."""
    self.flush()
    self._format.finish(facts)

  def close(self) -> None:
    """End the file, whole or not."""
    self._format.close()

  def flush(self) -> None:
    """Write the rows that are held; earlier than needed for large ones."""
    self._format.write(self._rows)
    self._rows = []


class _Csv:
  def __init__(self, file: BinaryIO, schema: pa.Schema):
    self._file = file
    self._names = schema.names
    self._put([self._names])

  def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
    self._put([[_cell(row.get(x)) for x in self._names] for row in rows])

  def finish(self, facts: Mapping[str, Any]) -> None:
    del facts

  def close(self) -> None:
    pass

  def _put(self, lines: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    self._file.write(text.getvalue().encode())


class _Jsonl:
  def __init__(self, file: BinaryIO, schema: pa.Schema):
    self._file = file
    self._names = schema.names

  def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
      named = {name: _short(row.get(name)) for name in self._names}
      line = strict_json.dumps(named, ensure_ascii=False)
      self._file.write(line.encode() + b"\n")

  def finish(self, facts: Mapping[str, Any]) -> None:
    del facts

  def close(self) -> None:
    pass


class _Parquet:
  def __init__(self, file: BinaryIO, schema: pa.Schema):
    self._schema = schema
    self._writer = pq.ParquetWriter(file, schema, compression="zstd")

  def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
      table = pa.Table.from_pylist([*rows], schema=self._schema)
      self._writer.write_table(table)

  def finish(self, facts: Mapping[str, Any]) -> None:
    self._writer.add_key_value_metadata({FACTS: strict_json.dumps(facts)})

  def close(self) -> None:
    self._writer.close()


FORMATS: Mapping[str, type[_Csv | _Jsonl | _Parquet]] = {
  ".csv": _Csv,
  ".jsonl": _Jsonl,
  ".parquet": _Parquet,
}


def schema(
  fields: Mapping[str, pa.DataType], columns: Sequence[str]
) -> pa.Schema:
  """Return the schema of a table with columns of --columns behind its own.

  Args:
    fields: name and type of the table's own columns.
    columns: columns of the source, which go along as texts.

  Raises:
    ValueError: a column has the name of one of the table's own.
  """
  if twice := [name for name in columns if name in fields]:
    raise ValueError(
      f"--columns: {twice[0]} is a column that the table has itself; its"
      f" columns are {', '.join(fields)}"
    )
  along = dict.fromkeys(columns, pa.string())
  return pa.schema([*fields.items(), *along.items()])


def check(out: str, path: pathlib.Path) -> None:
  """Raise ValueError where --out cannot be written as a new table."""
  if not out:
    raise ValueError(f"--out is missing: --out=FILE ending in {_suffixes()}")
  if path.suffix not in FORMATS:
    raise ValueError(f"--out must end in {_suffixes()}; got {out!r}")
  check_new(out, path)


def check_new(out: str, path: pathlib.Path) -> None:
  """Raise ValueError where the file --out is there, or its folder is not."""
  if path.exists():
    raise ValueError(f"--out={out} is there already; give a new file")
  if isinstance(path, pathlib.Path) and not path.parent.is_dir():
    raise ValueError(f"--out={out}: there is no folder {path.parent}")


@contextlib.contextmanager
def opened(path: pathlib.Path, schema: pa.Schema) -> Iterator[Writer]:
  """Yield a writer; the file is there at the end, without an exception.

  `Writer.finish` has to be called before.
  """
  # Arrow's writer is closed before its file is, after an exception too.
  with (
    whole_files.streamed(path) as file,
    contextlib.closing(Writer(file, path.suffix, schema)) as writer,
  ):
    yield writer


def _suffixes() -> str:
  return ", ".join(FORMATS)


def _cell(value: Any) -> Any:
  """Return a value as a cell of CSV: lists are JSON, null is empty."""
  if isinstance(value, list):
    return json.dumps(_short(value), ensure_ascii=False)
  if isinstance(value, bool):
    return str(value).lower()
  return _short(value)


def _short(value: Any) -> Any:
  """Return numbers with the digits that float32 has."""
  if isinstance(value, float):
    return float(f"{value:.7g}")
  if isinstance(value, list):
    return [_short(item) for item in value]
  return value
