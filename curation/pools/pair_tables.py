"""Tables of pairs from examples that are read one by one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import pool
from input_pipeline import faults
from input_pipeline.images import picture


class Table:
  """Pairs of the examples added so far, as columns."""

  def __init__(
    self,
    columns: Sequence[str],
    types: Mapping[str, pa.DataType],
    rows: np.ndarray | None,
    *,
    is_measured: bool,
  ):
    """Begin with no pairs.

    Args:
      columns: columns to keep beside pool.ALWAYS.
      types: types of the columns that pool.TYPES does not name.
      rows: rows of the pairs to keep; None for all.
      is_measured: whether width and height are those of the images, which
        each example then has.
    """
    self._rows = rows
    self._columns = columns
    self._is_measured = is_measured
    images = ("image",) if is_measured else ()
    self._types = {
      name: pool.TYPES.get(name, types.get(name))
      for name in dict.fromkeys((*pool.ALWAYS, *columns, *images))
    }
    self._given = [
      name
      for name in self._types
      if name not in (*pool.ALWAYS, "text", "caption")
    ]
    self._data: dict[str, list[Any]] = {name: [] for name in self._types}

  def __len__(self) -> int:
    return len(self._data["row"])

  def add(
    self,
    place: int,
    uid: bytes,
    texts: Sequence[str],
    values: Mapping[str, Any],
    languages: Sequence[str] = (),
    numbers: Sequence[int] = (),
  ) -> None:
    """Add an example.

    Args:
      place: index of the example in its shard.
      uid: UID of the example, 16 bytes.
      texts: captions of the example, a pair each.
      values: column -> value that all its pairs share; None for a null.
      languages: language of each caption; () for that of `values`.
      numbers: number of each caption; () for 0, 1, ...
    """
    if len(texts) > 1 << pool.CAPTION_BITS:
      message = f"{len(texts)} captions; at most {1 << pool.CAPTION_BITS}"
      self.add_fault(place, uid, "caption_broken", message)
      return
    for number, text in zip(numbers or range(len(texts)), texts, strict=True):
      self._append("uid", uid)
      self._append("row", place << pool.CAPTION_BITS | number)
      self._append("fault", None)
      self._append("text", text)
      self._append("caption", number)
      for name in self._given:
        self._append(name, values.get(name))
    if languages and "language" in self._data:
      self._data["language"][-len(texts) :] = languages

  def add_fault(self, place: int, uid: bytes, kind: str, message: str) -> None:
    """Add an example that cannot be used."""
    row = place << pool.CAPTION_BITS
    rows = [row]
    if self._rows is not None:  # each of its captions has been a pair before
      stop = row + (1 << pool.CAPTION_BITS)
      first, last = np.searchsorted(self._rows, [row, stop])
      rows = self._rows[first:last].tolist()
    for row in rows:
      for name in self._data:
        self._append(name, None)
      self._data["uid"][-1] = uid
      self._data["row"][-1] = row
      self._data["fault"][-1] = f"{kind}: {message}"

  def take(self, max_rows: int, *, is_last: bool) -> Iterator[pa.Table]:
    """Return and remove the tables that are full, with `is_last` all pairs.

    Args:
      max_rows: rows of a table.
      is_last: whether the last table may be smaller.
    """
    if len(self) < max_rows and not is_last:
      return iter(())
    table = pa.table(
      {
        name: pa.array(values, self._types[name])
        for name, values in self._data.items()
      }
    )
    for values in self._data.values():
      values.clear()
    parts = cut(_chosen(table, self._rows), max_rows)
    if not self._is_measured:
      return parts
    return (sized(part, self._columns) for part in parts)

  def _append(self, name: str, value: Any) -> None:
    if name in self._data:
      self._data[name].append(value)


def _chosen(table: pa.Table, rows: np.ndarray | None) -> pa.Table:
  """Return the rows with these numbers, ascending as the table's are."""
  if rows is None or not len(table):
    return table
  numbers = table["row"].to_numpy()
  if not len(rows):
    return table.slice(0, 0)
  found = np.minimum(np.searchsorted(rows, numbers), len(rows) - 1)
  keep = rows[found] == numbers
  return table if keep.all() else table.filter(pa.array(keep))


def cut(table: pa.Table, max_rows: int) -> Iterator[pa.Table]:
  """Yield a table in parts that are not empty."""
  for start in range(0, len(table), max_rows):
    yield table.slice(start, max_rows)


def sized(table: pa.Table, columns: Sequence[str]) -> pa.Table:
  """Return a table with the width and height that its images say.

  What is no image becomes a fault.

  Args:
    table: with `image`.
    columns: those that are wanted; `image` is left out if it is not.
  """
  found, messages = [], table["fault"].to_pylist()
  for number, data in enumerate(table["image"].to_pylist()):
    height = width = None
    if messages[number] is None:
      try:
        height, width = picture.size(data or b"")
      except faults.ExampleError as error:
        messages[number] = f"{error.kind}: {error}"
    found.append((width, height))
  for name, values in zip(
    ("width", "height"), zip(*found, strict=True), strict=True
  ):
    if name in columns:
      table = pool.with_column(table, name, pa.array(values, pa.int32()))
  table = pool.with_column(table, "fault", pa.array(messages, pa.string()))
  return table if "image" in columns else table.drop_columns(["image"])


def number_type(values: Sequence[Any]) -> pa.DataType | None:
  """Return the type of what JSON has as values; None for what is no column."""
  kinds = {type(value) for value in values if value is not None}
  if kinds == {bool}:
    return pa.bool_()
  if kinds == {int}:
    return pa.int64()
  if kinds and kinds <= {int, float}:
    return pa.float64()
  if kinds == {str}:
    return pa.string()
  return None


def as_type(value: Any, kind: pa.DataType) -> Any:
  """Return a value of JSON if it fits a column's type, else None."""
  if pa.types.is_string(kind):
    if not isinstance(value, str):
      return None
    try:
      value.encode()
    except UnicodeEncodeError:  # half a surrogate pair is no text
      return None
    return value
  if pa.types.is_boolean(kind):
    return value if isinstance(value, bool) else None
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  if pa.types.is_integer(kind):
    if isinstance(value, float) and math.isfinite(value) and value % 1 == 0:
      value = int(value)
    fits = isinstance(value, int) and -(2**63) <= value < 2**63
    return value if fits else None
  try:
    return float(value)
  except OverflowError:  # a whole number above all floats
    return None
