"""Index of a table's rows: where each begins, and on which line.

It is one array of uint64: the number N of rows, the offset of each row and of
the end [N + 1], and the line of every EVERY-th row, from which the lines of
the others are counted when a message needs one.
"""

import array
import codecs
import csv
import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np
from absl import logging

from input_pipeline.sources.tables import table_layout
from input_pipeline.storage import file_kinds
from runtime.storage import whole_files

EVERY = 256
# Bytes that tell what kind of file it is.
_NUM_PROBED = 1 << 16
_MARKS = (
  (codecs.BOM_UTF32_LE, "UTF-32"),
  (codecs.BOM_UTF32_BE, "UTF-32"),
  (codecs.BOM_UTF16_LE, "UTF-16"),
  (codecs.BOM_UTF16_BE, "UTF-16"),
)
# Even and odd bytes of ASCII text without a mark: whether they are NUL.
_WIDE: Mapping[tuple[bool, bool], str] = {
  (False, True): "UTF-16-LE",
  (True, False): "UTF-16-BE",
}
# Field between tabs as programs write it that quote it nevertheless.
_QUOTED = re.compile(rb'(?:^|\t)"[^"\t]*""[^\t]*"(?:[\t\r\n]|$)')


def make(path: str, *, is_separated: bool) -> np.ndarray:
  """Return the index of a table; ValueError, naming the line, if it has none.

  Args:
    path: a table in UTF-8.
    is_separated: whether it is CSV or TSV, whose first row is the header.
  """
  starts, lines = array.array("Q"), array.array("Q")
  with open(path, "rb") as file:
    check_kind(file.read(_NUM_PROBED))
    file.seek(0)
    rows = _separated(file) if is_separated else _lines(file)
    for offset, line in itertools.islice(rows, int(is_separated), None):
      if len(starts) % EVERY == 0:
        lines.append(line)
      starts.append(offset)
    starts.append(file.tell())
  index = array.array("Q", [len(starts) - 1]) + starts + lines
  return np.frombuffer(index, np.uint64)


def check_kind(head: bytes) -> None:
  """Raise ValueError for a file whose first bytes are not lines of UTF-8."""
  other = file_kinds.describe(head[: file_kinds.NUM_BYTES]) if head else ""
  if other:
    raise ValueError(f"the file is no table but {other}")
  kind = next((name for mark, name in _MARKS if head.startswith(mark)), "")
  if not kind:
    letters = head[:64]
    nuls = (not any(letters[::2]), not any(letters[1::2]))
    kind = _WIDE.get(nuls, "") if len(letters) > 3 else ""
  if kind:
    raise ValueError(
      f'the file is {kind}, not UTF-8; the field encoding="{kind.lower()}" '
      'of format="table" reads it'
    )
  if b"\r" in head and b"\n" not in head:
    raise ValueError(
      "lines end in carriage returns alone, as on old Macs; write line feeds: "
      "tr '\\r' '\\n' < OLD > NEW"
    )


def transcode(source: pathlib.Path, out: pathlib.Path, encoding: str) -> None:
  """Write a table in UTF-8; bytes that the encoding lacks stay what they are.

  Raises ValueError, naming line and byte, where even that is not possible.
  """
  decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
  num_lines, offset = 0, 0
  with whole_files.replacing(out) as file, open(source, "rb") as encoded:
    try:
      while data := encoded.read(_NUM_PROBED):
        text = decoder.decode(data)
        file.write(text.encode("utf-8", "surrogateescape"))
        num_lines += text.count("\n")
        offset += len(data)
      file.write(decoder.decode(b"", True).encode("utf-8", "surrogateescape"))
    except UnicodeError as error:
      raise ValueError(
        f"line {num_lines + 1} or a later one, from byte {offset} on, is not "
        f"{encoding}: {error}"
      ) from error


def line_of(index: np.ndarray, path: str, row: int) -> int:
  """Return the number of the line on which a row begins, from 1."""
  first = row // EVERY * EVERY
  starts, lines = index[1 : int(index[0]) + 2], index[int(index[0]) + 2 :]
  with open(path, "rb") as file:
    file.seek(int(starts[first]))
    before = file.read(int(starts[row]) - int(starts[first]))
  return int(lines[row // EVERY]) + before.count(b"\n")


def _lines(file: BinaryIO) -> Iterator[tuple[int, int]]:
  """Yield offset and number of lines that are not blank."""
  offset = 0
  for number, line in enumerate(file, 1):
    if not line.isspace():
      yield offset, number
    offset += len(line)


def _separated(file: BinaryIO) -> Iterator[tuple[int, int]]:
  """Yield offset and line of the header and of each row of CSV or TSV."""
  header = next((line for line in file if line.strip()), b"")
  file.seek(0)
  delimiter = table_layout.delimiter_of(header)
  if delimiter != "\t":
    yield from _quoted(file, delimiter)
    return
  offset = num_quoted = 0
  for number, line in enumerate(file, 1):
    num_quoted += b'""' in line and bool(_QUOTED.search(line))
    if line.strip(b"\r\n"):
      yield offset, number
    offset += len(line)
  if num_quoted:
    logging.warning(
      "%s: %d lines have a field in quotes, with quotes twice in it. Between "
      "tabs there is no quoting, and each quote is a letter of the caption; "
      "write a table with quoting as CSV, with commas",
      file.name,
      num_quoted,
    )


def _quoted(file: BinaryIO, delimiter: str) -> Iterator[tuple[int, int]]:
  """Yield offset and line of rows, which may span several lines in quotes.

  A line that is no CSV is a row nevertheless, unless it is not known where
  that row ends.
  """
  offset = 0

  def counted() -> Iterator[str]:
    nonlocal offset
    for line in file:
      offset += len(line)
      yield table_layout.decoded(line)

  rows = csv.reader(counted(), delimiter=delimiter, strict=True)
  while True:
    begin, line = offset, rows.line_num + 1
    try:
      row = next(rows)
    except StopIteration:
      return
    except csv.Error as error:
      is_open = "unexpected end of data" in str(error)
      if is_open or rows.line_num > line:
        raise ValueError(
          f"line {line}: a quote is opened in its row that is not closed as "
          f"CSV has it ({error}, line {rows.line_num}); a quote within a "
          "field in quotes must be there twice"
        ) from error
      row = ["broken"]
    if row:
      yield begin, line
