"""Layout of a table of JSON lines, CSV or TSV: its columns and its rows.

Training and curation read rows by these functions alone. A row of CSV follows
RFC 4180: a field in quotes may have delimiters and line ends in it, and each
quote in it twice. A row with a tab between its fields is a line, in which `"`
is a letter.
"""

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from input_pipeline import faults
from input_pipeline.sources import columns as columns_lib

Row = Mapping[str, Any]

# Characters of a field of CSV. A quote that is never closed would otherwise
# read the rest of a table into memory.
MAX_FIELD = 1 << 24
csv.field_size_limit(MAX_FIELD)


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
    """Return the row that these bytes are; faults.ExampleError for no row."""
    values = row(data, self.header, self.delimiter, self.columns.names)
    self._check(values, data)
    return values

  def rows(
    self, data: bytes, starts: Sequence[int]
  ) -> Iterator[Row | faults.ExampleError]:
    """Yield each row, or the fault of a broken one.

    Args:
      data: rows.
      starts: offset of each row in `data` and, last, the end of all.
    """
    whole: list[list[str]] = []
    # NUL bytes and byte order marks are judged row by row, further down.
    if self.header and b"\0" not in data and codecs.BOM_UTF8 not in data:
      with contextlib.suppress(csv.Error, UnicodeDecodeError):
        whole = csv_rows(data.decode(), self.delimiter)
    # One reader for all rows is faster, if it finds the same rows.
    if len(whole) != len(starts) - 1:
      whole = []
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
      try:
        if whole:
          yield _named(whole[number], self.header)
        else:
          yield self.row(data[start:stop])
      except faults.ExampleError as error:
        yield error

  def unnamed_key(self, index: int, image: Any) -> str:
    """Return the key of a row without one, by its index and image."""
    name = image if isinstance(image, str) else None
    return columns_lib.clean(f"{name}#{index}")

  def _check(self, values: Row, data: bytes) -> None:
    """Raise faults.ExampleError for text that cannot be encoded."""
    for name in self.columns.names:
      for spoken in columns_lib.by_language(values.get(name), ""):
        text = "".join(spoken)  # and the code of its language
        if text.isascii():
          continue
        try:
          text.encode()
        except UnicodeEncodeError as error:
          is_caption = name in self.columns.captions
          raise faults.ExampleError(
            "caption_broken" if is_caption else "record_broken",
            f"{name} has {_broken_letter(text[error.start], data)}",
          ) from None


def row(
  data: bytes,
  header: Sequence[str] = (),
  delimiter: str = "",
  once: Collection[str] = (),
) -> Row:
  """Return the row that these bytes are.

  Text that is not UTF-8 has surrogates, which cannot be encoded, in the place
  of its bytes: another column's do no harm.

  Args:
    data: bytes of one row.
    header: columns of CSV; () for JSON lines.
    delimiter: delimiter of CSV.
    once: fields that JSON must not have twice, with different values.

  Raises:
    faults.ExampleError: "record_broken".
  """
  text = decoded(data)
  if "\0" in text:
    raise _broken(f"a NUL byte at byte {data.index(0)} of the row")
  try:
    if not header:
      return _json(text.strip(), once)
    rows = csv_rows(text, delimiter)
  except csv.Error as error:
    raise _broken(str(error)) from error
  if len(rows) != 1:
    raise _broken(f"expected one row; got {len(rows)}")
  return _named(rows[0], header)


def broken_key(index: int) -> str:
  """Return the key of a row that cannot be read."""
  return f"broken row {index}"


def delimiter_of(header: bytes) -> str:
  """Return the delimiter of a table with this first line."""
  return next((mark for mark in "\t,;" if mark.encode() in header), ",")


def csv_rows(text: str, delimiter: str) -> list[list[str]]:
  """Return the rows of CSV or TSV; csv.Error for broken ones."""
  if delimiter == "\t":
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [line.split("\t") for line in lines if line]
  lines = io.StringIO(text, newline="")
  rows = csv.reader(lines, delimiter=delimiter, strict=True)
  return [values for values in rows if values]


def decoded(data: bytes) -> str:
  """Return text; bytes that are not UTF-8 are surrogates in it."""
  return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _json(text: str, once: Collection[str]) -> Row:
  pairs: list[tuple[str, Any]] = []

  def keep(found: list[tuple[str, Any]]) -> Row:
    nonlocal pairs
    pairs = found  # the outermost object is the last to be complete
    return columns_lib.once(found)

  try:
    values = json.loads(text, object_pairs_hook=keep)
  except json.JSONDecodeError as error:
    raise _broken(f"no JSON: {error.msg}, column {error.colno}") from error
  except (ValueError, RecursionError) as error:
    raise _broken(f"no JSON: {error}") from error
  if not isinstance(values, dict):
    raise _broken("no JSON object, as {...}")
  # Another field than these may come twice.
  last = dict(pairs)
  for name in last.keys() & once:
    if isinstance(values[name], columns_lib.Twice):
      raise _broken(f"the field {name} twice, with different values")
  return last


def _named(values: Sequence[str], header: Sequence[str]) -> Row:
  if len(values) != len(header):
    raise _broken(f"expected {len(header)} fields; got {len(values)}")
  return dict(zip(header, values, strict=True))


def _broken(message: str) -> faults.ExampleError:
  return faults.ExampleError("record_broken", message)


def _broken_letter(letter: str, data: bytes) -> str:
  """Return a description of a surrogate in a row."""
  try:
    data.decode()
  except UnicodeDecodeError as error:
    if 0xDC80 <= ord(letter) <= 0xDCFF:
      return (
        f"byte 0x{data[error.start]:02x}, at byte {error.start} of the row, "
        'which is not UTF-8; format="table" reads other encodings, as '
        'encoding="latin-1"'
      )
  return f"half a surrogate pair, \\u{ord(letter):04x}"
