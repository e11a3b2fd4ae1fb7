"""Rows of JSON lines and of CSV as columns.

Many lines at once are read by Arrow where all have the types that the first
ones had; else one by one, with a fault for a row that cannot be read.
"""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from curation.pools import caption_columns, pair_tables
from input_pipeline import faults
from input_pipeline.sources import columns as columns_lib
from input_pipeline.sources.tables import table_layout

_TEXTS = pa.list_(pa.string())
# Most brackets and braces of a line that Arrow is to read.
_MAX_OPENINGS = 500
# Letters of a value that a message shows.
_NUM_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Form:
  """Form of the lines of a file or table.

  Attributes:
    layout: columns, and the form of rows.
    types: types of columns that Arrow can read as one type.
    fault: column of kind and message of the fault of a row; "" for none.
  """

  layout: table_layout.Layout
  types: Mapping[str, pa.DataType] = dataclasses.field(hash=False)
  fault: str = ""

  @property
  def names(self) -> frozenset[str]:
    """Return the columns that there can be."""
    found = {name for name in self.types if self.types[name] != _TEXTS}
    return frozenset(found | set(self.layout.columns.names))

  def read(
    self,
    data: bytes,
    starts: np.ndarray,
    stops: np.ndarray,
    names: Sequence[str],
    *,
    where: Callable[[int], str],
  ) -> tuple[pa.Table, pa.Array]:
    """Return columns of lines, and the problem of each line, null for most.

    Args:
      data: bytes with all of the lines, and maybe others between them.
      starts: start of each line in `data`.
      stops: end of each line.
      names: names of the columns.
      where: number of a line here -> its name in messages.
    """
    offsets = np.append(0, np.cumsum(stops - starts))
    if offsets[-1] < len(data):
      ranges = zip(starts.tolist(), stops.tolist(), strict=True)
      data = b"".join(data[start:stop] for start, stop in ranges)
    found = None
    if not self.layout.header and not (
      self.fault and f'"{self.fault}"'.encode() in data
    ):
      found = self._read_json(data, offsets, names)
    if found is not None:
      return found, pa.nulls(len(found), pa.string())
    rows, problems, key = [], [], self.layout.columns.key
    for number, row in enumerate(self.layout.rows(data, offsets.tolist())):
      problem = None
      if isinstance(row, faults.ExampleError):
        problem, row = f"{row.kind}: {where(number)}: {row}", {}
      elif self.fault and self.fault in row:
        problem = ": ".join(row[self.fault])
      if key is not None and key in names:
        text = ""
        try:
          text = columns_lib.key_text(row.get(key))
        except faults.ExampleError as error:
          problem = f"{error.kind}: {where(number)}: {error}"
        row = {**row, key: text}
      rows.append(row)
      problems.append(problem)
    made = {}
    for name in names:
      made[name] = self._column(name, rows)
      for number in self._misfits(name, rows, made[name]):
        problems[number] = problems[number] or (
          f"record_broken: {where(number)}: {name} is "
          f"{str(rows[number][name])[:_NUM_SHOWN]!r}; expected "
          f"{made[name].type}, as the first rows have it"
        )
    # A table without columns has no rows.
    made["_"] = pa.nulls(len(rows))
    return pa.table(made), pa.array(problems, pa.string())

  def _read_json(
    self, data: bytes, offsets: np.ndarray, names: Sequence[str]
  ) -> pa.Table | None:
    """Return what Arrow reads; None where it may not be what Python reads."""
    if not names or not all(name in self.types for name in names):
      return None
    if not _suits_arrow(data, offsets):
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
    return found if len(found) == len(offsets) - 1 else None

  def _misfits(
    self, name: str, rows: Sequence[Mapping[str, Any]], made: pa.Array
  ) -> list[int]:
    """Return the rows with a value that a column of numbers has no place for.

    A score that is lost would drop its pair without a word.
    """
    is_number = pa.types.is_integer(made.type) or pa.types.is_float64(made.type)
    if not is_number or not made.null_count:
      return []
    is_null = made.is_null().to_pylist()
    return [
      number
      for number, row in enumerate(rows)
      if is_null[number] and not _is_blank(row.get(name))
    ]

  def _column(self, name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    values = [row.get(name) for row in rows]
    if name in self.layout.columns.captions:
      found = [list(columns_lib.by_language(value, "")) for value in values]
      if any(code for texts in found for code, _ in texts):
        return pa.array(found, pa.list_(caption_columns.SPOKEN))
      return pa.array([[text for _, text in some] for some in found], _TEXTS)
    if name == self.layout.columns.key:
      return pa.array(values, pa.string())
    kind = self.types.get(name, pa.string())
    if self.layout.header and not pa.types.is_string(kind):
      values = [_number(value) for value in values]
    return pa.array([pair_tables.as_type(v, kind) for v in values], kind)


def _suits_arrow(data: bytes, offsets: np.ndarray) -> bool:
  """Return whether all lines are what Arrow's reader does not crash at.

  Version 26 ends the process at a line that is null, and where some ten
  thousand brackets are within each other.

  Args:
    data: lines.
    offsets: offset of each line and, last, the end.
  """
  letters = np.frombuffer(data, np.uint8)
  is_opening = (letters == ord("[")) | (letters == ord("{"))
  before = np.append(0, np.cumsum(is_opening))
  num_opened = np.diff(before[offsets])
  starts = letters[offsets[:-1]]
  return bool(
    (starts == ord("{")).all() and (num_opened <= _MAX_OPENINGS).all()
  )


def form(
  layout: table_layout.Layout, first: Sequence[table_layout.Row]
) -> Form:
  """Return the form of lines of which the first are these rows."""
  columns, header = layout.columns, layout.header
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
  return Form(layout, types)


def _csv_type(values: Sequence[str | None]) -> pa.DataType:
  given = [value for value in values if value]
  numbers = [_number(value) for value in given]
  if not numbers or None in numbers:
    return pa.string()
  if all(isinstance(x, int) and -(2**63) <= x < 2**63 for x in numbers):
    return pa.int64()
  return pa.float64()


def _is_blank(value: Any) -> bool:
  return value is None or (isinstance(value, str) and not value.strip())


def _number(value: str | None) -> int | float | None:
  for kind in (int, float):
    with contextlib.suppress(ValueError):
      return kind(value or "")
  return None
