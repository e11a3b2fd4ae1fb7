"""Rows of JSON lines and of CSV as columns.

Many lines at once are read by Arrow where all have the types that the first
ones had; else one by one, with a fault for a row that cannot be read.
"""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from curation.pools import pair_tables
from input_pipeline.sources import columns as columns_lib
from input_pipeline.sources import table

_TEXTS = pa.list_(pa.string())


@dataclasses.dataclass(frozen=True)
class Form:
  """How lines are read.

  Attributes:
    columns: which are image, captions, language and key.
    types: of columns, those that Arrow cannot read as one type left out.
    header: names of the columns of CSV; () for JSON.
    delimiter: of CSV.
  """

  columns: columns_lib.Columns
  types: Mapping[str, pa.DataType] = dataclasses.field(hash=False)
  header: tuple[str, ...] = ()
  delimiter: str = ""

  @property
  def names(self) -> frozenset[str]:
    """Return the columns that there can be."""
    found = {name for name in self.types if self.types[name] != _TEXTS}
    return frozenset(found | set(self.columns.names))

  def read(
    self, data: bytes, starts: np.ndarray, names: Sequence[str]
  ) -> tuple[pa.Table, pa.Array]:
    """Return columns of lines, and what is wrong with each, null for most.

    Args:
      data: the lines.
      starts: of each in `data`, and last the end of all.
      names: of the columns.
    """
    found = None
    if not self.header:
      found = self._read_json(data, len(starts) - 1, names)
    if found is not None:
      return found, pa.nulls(len(found), pa.string())
    rows, problems = [], []
    for row in self._rows(data, starts.tolist()):
      is_row = isinstance(row, Mapping)
      rows.append(row if is_row else {})
      problems.append(None if is_row else f"record_broken: {row}")
    made = {name: self._column(name, rows) for name in names}
    # A table without columns has no rows.
    made["_"] = pa.nulls(len(rows))
    return pa.table(made), pa.array(problems, pa.string())

  def _read_json(
    self, data: bytes, num_rows: int, names: Sequence[str]
  ) -> pa.Table | None:
    """Return what Arrow reads; None where it may not be what Python reads."""
    if not names or not all(name in self.types for name in names):
      return None
    schema = pa.schema([(name, self.types[name]) for name in names])
    try:
      data.decode()
      found = pyarrow.json.read_json(
        io.BytesIO(data),
        read_options=pyarrow.json.ReadOptions(
          use_threads=False, block_size=len(data) + 1
        ),
        parse_options=pyarrow.json.ParseOptions(
          explicit_schema=schema, unexpected_field_behavior="ignore"
        ),
      )
    except (pa.ArrowException, UnicodeDecodeError):
      return None
    return found if len(found) == num_rows else None

  def _rows(
    self, data: bytes, starts: list[int]
  ) -> Iterable[Mapping[str, Any] | str]:
    """Yield each row, or what is wrong with it."""
    if not self.header:
      for start, stop in itertools.pairwise(starts):
        yield parsed(data[start:stop])
      return
    rows: list[list[str] | None] = []
    with contextlib.suppress(csv.Error):
      rows += table.parsed(data, self.delimiter)
    if len(rows) != len(starts) - 1:
      rows = [
        self._csv_row(data[start:stop])
        for start, stop in itertools.pairwise(starts)
      ]
    for row in rows:
      if row is None or len(row) != len(self.header):
        yield f"expected {len(self.header)} values; got {row}"
      else:
        yield dict(zip(self.header, row, strict=True))

  def _csv_row(self, data: bytes) -> list[str] | None:
    try:
      (row,) = table.parsed(data, self.delimiter)
    except (ValueError, csv.Error):
      return None
    return row

  def _column(self, name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    values = [row.get(name) for row in rows]
    if name in self.columns.captions:
      texts = [
        [columns_lib.clean(text) for text in columns_lib.flat(value)]
        for value in values
      ]
      return pa.array(texts, _TEXTS)
    if name == self.columns.key:
      keys = [None if v is None else columns_lib.clean(str(v)) for v in values]
      return pa.array(keys, pa.string())
    kind = self.types.get(name, pa.string())
    if self.header and not pa.types.is_string(kind):
      return pa.array([_number(v, kind) for v in values], kind)
    return pa.array([pair_tables.as_type(v, kind) for v in values], kind)


def form(
  columns: columns_lib.Columns,
  first: Sequence[Mapping[str, Any]],
  header: Sequence[str] = (),
  delimiter: str = "",
) -> Form:
  """Return how lines are read of which the first are these rows."""
  names = header or sorted({name for row in first for name in row})
  types: dict[str, pa.DataType] = {}
  for name in names:
    values = [row.get(name) for row in first]
    kind = _csv_type(values) if header else pair_tables.number_type(values)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
      items = {type(item) for value in values for item in value or ()}
      kind = _TEXTS if items <= {str} else None
    is_text = name in (columns.image, columns.language, *columns.captions)
    if is_text and kind is not None and kind not in (pa.string(), _TEXTS):
      kind = None
    # As Python writes it: 1.0 and True are for Python.
    if name == columns.key and kind not in (pa.string(), pa.int64()):
      kind = None
    if kind is not None:
      types[name] = kind
  return Form(columns, types, tuple(header), delimiter)


def parsed(line: bytes) -> Mapping[str, Any] | str:
  """Return the object of a line, or what is wrong with it."""
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    return str(error)
  return row if isinstance(row, dict) else "not an object"


def _csv_type(values: Sequence[str | None]) -> pa.DataType:
  given = [value for value in values if value]
  for kind in (pa.int64(), pa.float64()):
    if given and all(_number(value, kind) is not None for value in given):
      return kind
  return pa.string()


def _number(value: str | None, kind: pa.DataType) -> Any:
  try:
    found = (
      int(value or "") if pa.types.is_integer(kind) else float(value or "")
    )
  except ValueError:
    return None
  return pair_tables.as_type(found, kind)
