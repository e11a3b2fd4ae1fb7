"""Files of images with a table of captions beside them.

`path` is a table, or a folder with one of TABLES:

  *.jsonl      a JSON object a line: {"image": "a/1.jpg", "caption": "a cat"},
               or with several captions: {..., "caption": ["a cat", "a pet"]}
  *.csv *.tsv  columns by the names in its first line; with a tab between them
               where that line has one, as open_clip writes them

The image column has a path below the table's folder, or a URL; see
named_file.py. Keys are the column "key" if the table has it, else the image's
path and, as one image may have several rows, the row's number. Tables at a URL
are copied below the cache folder. An index of the rows' offsets is made once
and kept there too, 8 bytes a row, shared by all workers.
"""

import array
import csv
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import (
  columns,
  named_file,
  source_config,
  table_layout,
)
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import files, remote
from input_pipeline.storage import uids as uids_lib
from runtime import whole_files

LANGUAGES = None

TABLES = (
  *("captions.jsonl", "captions.csv", "captions.tsv"),
  "metadata.jsonl",  # in Hugging Face's image folders
)
_SEPARATED = (".csv", ".tsv")

# Version to increase when the form of the index changes.
_VERSION = 1


splits = source_config.no_splits


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return the rows of a table, its index made if need be."""
  field = context.field
  source_config.check_no_split(source, split, context)
  return open_table(source, field, context.cache_dir)


def open_table(
  source: source_config.SourceConfig,
  field: str,
  cache_dir: pathlib.Path,
  *,
  needs_image: bool = True,
) -> "Records":
  """Return the rows of a table, for messages of the section `field`."""
  table = _find(source.path, field)
  path, folder = table.path, table.path.rpartition("/")[0]
  facts = (_VERSION, table.path, table.size, table.version)
  digest = record_lib.digest(facts)
  kept = cache_dir / "tables"
  if remote.is_remote(path):
    copy = kept / f"{digest}{pathlib.Path(path).suffix}"
    if not copy.exists():
      kept.mkdir(parents=True, exist_ok=True)
      whole_files.write(copy, files.read(path))
    path = str(copy)
  changing = _facts(path)
  index = kept / f"{digest}.npy"
  if not index.exists():
    kept.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    np.save(file, _starts(path, field))
    whole_files.write(index, file.getvalue())
  return Records(
    *(source, path, folder or ".", index, digest, changing, field),
    needs_image=needs_image,
  )


class Records:
  """The rows of one table; see record.Records.

  Attributes:
    path: path of the table, on disk.
    folder: folder that paths of images are relative to.
    starts: uint64 [N + 1], the offset of each row and, last, the file's size.
    layout: columns, and the form of rows.
  """

  def __init__(
    self,
    source: source_config.SourceConfig,
    path: str,
    folder: str,
    index: pathlib.Path,
    digest: str,
    facts: tuple[int, int],
    field: str,
    needs_image: bool = True,
  ):
    self._arguments = (
      *(source, path, folder, index, digest, facts, field),
      needs_image,
    )
    self._source = source
    self.path = path
    self.folder = folder
    self._digest = digest
    self._facts = facts
    self.starts = np.load(index, mmap_mode="r", allow_pickle=False)
    self._header: tuple[str, ...] = ()
    self._delimiter = ""
    if not len(self):
      raise ValueError(f"{field}.path: {path} has no rows")
    if _is_separated(path):
      with open(path, "rb") as file:
        header = file.read(int(self.starts[0]))
      self._delimiter = table_layout.delimiter_of(header)
      (names,) = table_layout.csv_rows(header, self._delimiter)
      self._header = tuple(names)
    # Rows of a JSON table may lack columns.
    names = self._header or sorted(
      {name for row in self.first_rows() for name in row}
    )
    self.layout = table_layout.Layout(
      columns.choose(source, names, field, needs_image=needs_image),
      self._header,
      self._delimiter,
    )

  # Pickled by its path: the index is mapped again when unpickled.
  def __reduce__(self):
    return type(self), self._arguments

  def __len__(self) -> int:
    return len(self.starts) - 1

  def __getitem__(self, index: int) -> record_lib.Record:
    row = self._row(index)
    image = row.get(self.layout.columns.image)
    if not isinstance(image, str) or not image:
      raise faults.ExampleError(
        "image_missing", f"row {index} names no {self.layout.columns.image}"
      )
    texts = columns.texts(
      self.layout.columns, row, self._source.language, index
    )
    data = named_file.read(image, self.folder)
    return record_lib.Record(self._key(index, row), data, texts)

  def fingerprint(self) -> str:
    """Return hex digits of the table's path, size and time of change."""
    return record_lib.digest((self._digest, self.layout.columns))

  def path_of(self, index: int) -> str:
    """Return the path of the table."""
    del index
    return self.path

  def uids(self) -> np.ndarray:
    """Return the UIDs; reads the table, not the images."""
    found = np.empty(len(self), uids_lib.UID)
    for index in range(len(self)):
      try:
        key = self._key(index, self._row(index))
      except faults.ExampleError:
        key = table_layout.broken_key(index)
      found[index] = uids_lib.uid(key)
    return found

  def check_unchanged(self) -> None:
    """Raise faults.ExampleError if the table changed after it was opened."""
    if _facts(self.path) != self._facts:
      raise faults.ExampleError(
        "shard_changed", f"{self.path} changed after its rows were found"
      )

  def _key(self, index: int, row: Mapping[str, Any]) -> str:
    name = self.layout.columns.key
    key = columns.key_text(row.get(name)) if name else ""
    return key or self.layout.unnamed_key(
      index, row.get(self.layout.columns.image)
    )

  def _row(self, index: int) -> Mapping[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f"no row {index} of {len(self)}")
    start, stop = self.starts[index : index + 2].tolist()
    self.check_unchanged()
    data = files.read_range(self.path, start, stop)
    try:
      return table_layout.row(data, self._header, self._delimiter)
    except ValueError as error:
      raise faults.ExampleError(
        "record_broken", f"row {index} of {self.path}: {error}"
      ) from error

  def first_rows(self) -> Iterator[Mapping[str, Any]]:
    """Yield the readable rows among the first."""
    for index in range(min(len(self), columns.NUM_PROBED)):
      try:
        yield self._row(index)
      except faults.ExampleError:
        continue


def _find(path: str, field: str) -> files.File:
  """Return the table of a path, which may be its folder."""
  if not path or any(letter in path for letter in "*?[{"):
    raise ValueError(
      f"{field}.path must be one table or the folder of one; got {path!r}"
    )
  suffix = pathlib.PurePosixPath(path).suffix
  if suffix in (".jsonl", *_SEPARATED):
    (found,) = files.find(path, f"{field}.path")
    return found
  for name in TABLES:
    try:
      return files.facts(f"{path.rstrip('/')}/{name}")
    except (FileNotFoundError, NotADirectoryError):
      continue
  raise ValueError(
    f"{field}.path must be a .jsonl, .csv or .tsv file, or a folder with "
    f"{', '.join(TABLES)}; got {path!r}"
  )


def _facts(path: str) -> tuple[int, int]:
  """Return size and time of change; faults.ExampleError if it is missing."""
  try:
    status = os.stat(path)
  except OSError as error:
    raise faults.ExampleError("file_missing", f"{path}: {error}") from error
  return status.st_size, status.st_mtime_ns


def _is_separated(path: str) -> bool:
  return pathlib.PurePosixPath(path).suffix in _SEPARATED


def _starts(path: str, field: str) -> np.ndarray:
  """Return the offset of each row and, last, the file's size; uint64."""
  with open(path, "rb") as file:
    try:
      if _is_separated(path):
        found = _csv_starts(file)
      else:
        found = _line_starts(file)
    except ValueError as error:
      raise ValueError(f"{field}.path: {path}: {error}") from error
  return np.frombuffer(found, np.uint64)


def _line_starts(lines: Iterable[bytes]) -> array.array:
  """Return the offsets of lines that are not empty."""
  starts, offset = array.array("Q"), 0
  for line in lines:
    if not line.isspace():
      starts.append(offset)
    offset += len(line)
  starts.append(offset)
  return starts


def _csv_starts(file: BinaryIO) -> array.array:
  """Return the offsets of rows, which may span several lines in quotes.

  The first row, the header, is left out.
  """
  delimiter = table_layout.delimiter_of(file.readline())
  file.seek(0)
  offset = 0

  def counted() -> Iterator[str]:
    nonlocal offset
    for line in file:
      offset += len(line)
      yield table_layout.decoded(line)

  starts, begin = array.array("Q"), 0
  is_header = True
  rows = csv.reader(counted(), delimiter=delimiter)
  try:
    for row in rows:
      if row and not is_header:
        starts.append(begin)
      is_header = is_header and not row
      begin = offset
  except csv.Error as error:
    raise ValueError(
      f"{error}, in the row that ends at line {rows.line_num}; is a quote "
      "missing there?"
    ) from error
  starts.append(offset)
  return starts
