"""Layout of a table of JSON lines, CSV or TSV: its columns and its rows."""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from input_pipeline.sources import columns as columns_lib

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Layout:
  """Columns of a table, and the form of its rows.

  Attributes:
    columns: names of the columns for image, captions, language and key.
    header: columns of CSV; () for JSON lines.
    delimiter: delimiter of CSV.
  """

  columns: columns_lib.Columns
  header: tuple[str, ...] = ()
  delimiter: str = ""

  def row(self, data: bytes) -> Row:
    """Return the row that these bytes are; ValueError for a broken one."""
    return row(data, self.header, self.delimiter)

  def rows(self, data: bytes, starts: Sequence[int]) -> Iterator[Row | str]:
    """Yield each row, or a message about it if it is broken.

    Args:
      data: rows.
      starts: offset of each row in `data` and, last, the end of all.
    """
    if self.header:
      values = []
      with contextlib.suppress(csv.Error):
        values = csv_rows(data, self.delimiter)
      # One reader for all rows is faster, if it finds the same rows.
      if len(values) == len(starts) - 1:
        for value in values:
          try:
            yield _named(value, self.header)
          except ValueError as error:
            yield str(error)
        return
    for start, stop in itertools.pairwise(starts):
      try:
        yield self.row(data[start:stop])
      except ValueError as error:
        yield str(error)

  def unnamed_key(self, index: int, image: Any) -> str:
    """Return the key of a row without one, by its index and image."""
    return columns_lib.clean(f"{image}#{index}")


def row(data: bytes, header: Sequence[str] = (), delimiter: str = "") -> Row:
  """Return the row that these bytes are; ValueError for a broken one."""
  try:
    if header:
      rows = csv_rows(data, delimiter)
      if len(rows) != 1:
        raise ValueError(f"expected one row; got {len(rows)}")
      return _named(rows[0], header)
    values = json.loads(data)
  except (csv.Error, RecursionError) as error:
    raise ValueError(str(error)) from error
  if not isinstance(values, dict):
    raise ValueError("not an object")
  return values


def broken_key(index: int) -> str:
  """Return the key of a row that cannot be read."""
  return f"broken row {index}"


def delimiter_of(header: bytes) -> str:
  """Return the delimiter of a table with this first line."""
  return "\t" if b"\t" in header else ","


def csv_rows(data: bytes, delimiter: str) -> list[list[str]]:
  """Return the rows of CSV; csv.Error for broken ones."""
  lines = io.StringIO(decoded(data), newline="")
  return [values for values in csv.reader(lines, delimiter=delimiter) if values]


def decoded(data: bytes) -> str:
  """Return text; bytes that are no UTF-8 are faults of rows that use them."""
  return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _named(values: Sequence[str], header: Sequence[str]) -> Row:
  if len(values) != len(header):
    raise ValueError(f"expected {len(header)} values; got {values}")
  return dict(zip(header, values, strict=True))
