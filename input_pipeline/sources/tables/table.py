"""Files of images with a table of captions beside them.

`path` is a table, or a folder with one of TABLES:

  *.jsonl      a JSON object a line: {"image": "a/1.jpg", "caption": "a cat"},
               or with several captions: {..., "caption": ["a cat", "a pet"]},
               or in several languages: {..., "texts": {"en": "a cat"}}
  *.csv *.tsv  columns by the names in its first line; with a tab between them
               where that line has one, as open_clip writes them

A row with tabs is a line without quoting; see table_layout.py for CSV. Tables
are UTF-8; one in `encoding` is copied below the cache folder in UTF-8.

The image column has a path below the table's folder, or a URL; see
named_file.py. Keys are the column "key" if the table has it, else the image's
path and, as one image may have several rows, the row's number. Tables at a URL
are copied below the cache folder. An index of the rows' offsets is made once
and kept there too, 8 bytes a row, shared by all workers.
"""

import codecs
import contextlib
import csv
import functools
import io
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from absl import logging

from input_pipeline import faults
from input_pipeline.sources import columns, named_file, source_config
from input_pipeline.sources import record as record_lib
from input_pipeline.sources.tables import table_index, table_layout
from input_pipeline.storage import files, folders
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote, whole_files

LANGUAGES = None

TABLES = (
  *("captions.jsonl", "captions.csv", "captions.tsv"),
  # In Hugging Face's image folders; folder.py reads those below them too.
  *("metadata.jsonl", "metadata.csv"),
)
_SEPARATED = (".csv", ".tsv")

# Versions to increase when rows are read in another way, and when the form of
# the index changes.
_VERSION = 1
_INDEX_VERSION = 3


splits = source_config.no_splits


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return the rows of a table, its index made if need be."""
  field = context.field
  source_config.check_no_split(source, split, context)
  records = open_table(source, field, context.cache_dir)
  warn_of_brackets(records, field)
  return records


def open_table(
  source: source_config.SourceConfig,
  field: str,
  cache_dir: pathlib.Path,
  *,
  needs_image: bool = True,
) -> "Records":
  """Return the rows of a table, for messages of the section `field`."""
  table = _find(source.path, field)
  path, folder = table.path, named_file.folder_of(source.image_root, table.path)
  facts = (_VERSION, table.path, table.size, table.version)
  encoding = codecs.lookup(source.encoding or "utf-8").name
  if encoding != "utf-8":
    facts += (encoding,)
  digest = record_lib.digest(facts)
  kept = cache_dir / "tables"
  copy = kept / f"{digest}{pathlib.Path(path).suffix}"
  index = kept / f"{digest}-{_INDEX_VERSION}.npy"
  if remote.is_remote(path) or encoding != "utf-8":
    path = str(copy)
  try:
    if path == str(copy) and not copy.exists():
      kept.mkdir(parents=True, exist_ok=True)
      _copy(table.path, copy, encoding)
    changing = _facts(path)
    if not index.exists():
      rows = table_index.make(path, is_separated=_is_separated(path))
      kept.mkdir(parents=True, exist_ok=True)
      file = io.BytesIO()
      np.save(file, rows)
      whole_files.write(index, file.getvalue())
  except ValueError as error:
    raise ValueError(f"{field}.path: {table.path}: {error}") from error
  return Records(
    *(source, table.path, path, folder, index, digest, changing, field),
    needs_image=needs_image,
  )


class Records:
  """The rows of one table; see record.Records.

  Attributes:
    name: path of the table, for messages.
    path: path of the table in UTF-8, on disk.
    folder: folder that paths of images are relative to.
    starts: uint64 [N + 1], the offset of each row and, last, the file's size.
    layout: columns, and the form of rows.
  """

  def __init__(
    self,
    source: source_config.SourceConfig,
    name: str,
    path: str,
    folder: str,
    index: pathlib.Path,
    digest: str,
    facts: tuple[int, int],
    field: str,
    needs_image: bool = True,
  ):
    self._arguments = (
      *(source, name, path, folder, index, digest, facts, field),
      needs_image,
    )
    self._source = source
    self.name = name
    self.path = path
    self.folder = folder
    self._field = field
    self._digest = digest
    self._facts = facts
    self._index = np.load(index, mmap_mode="r", allow_pickle=False)
    self.starts = self._index[1 : int(self._index[0]) + 2]
    self._header: tuple[str, ...] = ()
    self._delimiter = ""
    if not len(self):
      raise ValueError(
        f"{field}.path: {name} has no rows; write them, or delete the file if"
        " captions are elsewhere in its folder"
      )
    if _is_separated(path):
      with open(path, "rb") as file:
        self._read_header(file.read(int(self.starts[0])), field)
    # Rows of a JSON table may lack columns.
    names = self._header or sorted(
      {name for row in self.first_rows() for name in row}
    )
    if not names:
      raise ValueError(
        f"{field}.path: {self.where(0)} and the rows after it are no JSON "
        "objects, as {...}"
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
    row = self.row(index)
    try:
      image = self._image_of(row)
      texts = record_lib.texts(
        functools.partial(
          columns.texts,
          *(self.layout.columns, row, self._source.language, "the row"),
        ),
        self._source.needs_caption,
      )
      data = named_file.read(image, self.folder, self._field)
      key = self._key(index, row)
      stored_id = named_file.stored_id(image, self.folder, self._field)
    except faults.ExampleError as error:
      raise self._at(index, error) from error
    origin = f"{self.path}, row {index}, {image}"
    return record_lib.Record(key, data, texts, origin, stored_id)

  def texts(self, index: int) -> Mapping[str, tuple[str, ...]]:
    """Return the texts of a row by language; its image is not read."""
    return columns.texts(
      self.layout.columns,
      self.row(index),
      self._source.language,
      self.where(index),
    )

  def image_id(self, index: int) -> bytes:
    """Return the name of a row's image; see image_ids."""
    row = self.row(index)
    try:
      name = self._image_of(row)
      return named_file.image_id(name, self.folder, self._field)
    except faults.ExampleError as error:
      raise self._at(index, error) from error

  def image_path(self, index: int) -> str:
    """Return the path or URL of a row's image; raises faults.ExampleError."""
    image = self._image_of(self.row(index))
    return named_file.resolve(image, self.folder, self._field)

  def where(self, index: int) -> str:
    """Return the line of a row, and the table."""
    line = table_index.line_of(self._index, self.path, index)
    return f"line {line} of {self.name}"

  def fingerprint(self) -> str:
    """Return hex digits of the table's path, size and time of change."""
    root = named_file.facts_of(self._source.image_root)
    # Quotes between tabs were once read as those of CSV.
    form = ("lines",) if self._delimiter == "\t" else ()
    return record_lib.digest((self._digest, self.layout.columns, *root, *form))

  def image_state(self) -> str:
    """Return hex digits of sizes and times, or versions, of the images.

    No image is read. Of those at a URL the files of `image_root` count, where
    they can be listed; others count by their addresses alone.
    """
    root = self._source.image_root
    if remote.is_remote(root):
      try:
        listed = folders.walk(root, f"{self._field}.image_root")
      except (OSError, ValueError):  # as of a web server without an index
        return ""
      return record_lib.digest(
        [(name, file.size, file.version) for name, file in listed.items()]
      )
    sizes = []
    for index in range(len(self)):
      try:
        image = self._image_of(self.row(index))
        path = named_file.resolve(image, self.folder, self._field)
      except faults.ExampleError:
        continue
      if not remote.is_remote(path):
        try:
          status = os.stat(path)
        except OSError:
          continue
        sizes.append((index, status.st_size, status.st_mtime_ns))
    return record_lib.digest(sizes)

  def path_of(self, index: int) -> str:
    """Return the path of the table."""
    del index
    return self.name

  def uids(self) -> np.ndarray:
    """Return the UIDs; reads the table, not the images."""
    found = np.empty(len(self), uids_lib.UID)
    for index in range(len(self)):
      try:
        key = self._key(index, self.row(index))
      except faults.ExampleError:
        key = table_layout.broken_key(index)
      found[index] = uids_lib.uid(key)
    return found

  def check_unchanged(self) -> None:
    """Raise faults.ExampleError if the table changed after it was opened."""
    if _facts(self.path) != self._facts:
      raise faults.ExampleError(
        "shard_changed", f"{self.name} changed after its rows were found"
      )

  def _image_of(self, row: table_layout.Row) -> str:
    """Return the path or address of an image; faults.ExampleError if none."""
    image = row.get(self.layout.columns.image)
    if not isinstance(image, str) or not image:
      raise faults.ExampleError(
        "image_missing",
        f"nothing is in column {self.layout.columns.about_image}",
      )
    return image

  def _key(self, index: int, row: table_layout.Row) -> str:
    name = self.layout.columns.key
    key = columns.key_text(row.get(name)) if name else ""
    return key or self.layout.unnamed_key(
      index, row.get(self.layout.columns.image)
    )

  def row(self, index: int) -> table_layout.Row:
    """Return a row; raises faults.ExampleError."""
    data = self._bytes(index)
    try:
      return self.layout.row(data)
    except faults.ExampleError as error:
      raise self._at(index, error) from error

  def _at(self, index: int, error: faults.ExampleError) -> faults.ExampleError:
    return faults.ExampleError(error.kind, f"{self.where(index)}: {error}")

  def _bytes(self, index: int) -> bytes:
    if not 0 <= index < len(self):
      raise IndexError(f"no row {index} of {len(self)}")
    start, stop = self.starts[index : index + 2].tolist()
    self.check_unchanged()
    return files.read_range(self.path, start, stop)

  def first_rows(self) -> Iterator[table_layout.Row]:
    """Yield the readable rows among the first, whatever their columns."""
    for index in range(min(len(self), columns.NUM_PROBED)):
      with contextlib.suppress(faults.ExampleError):
        yield table_layout.row(
          self._bytes(index), self._header, self._delimiter
        )

  def _read_header(self, data: bytes, field: str) -> None:
    """Read the names of the columns of CSV or TSV."""
    self._delimiter = table_layout.delimiter_of(data.lstrip())
    try:
      data.decode()
      (names,) = table_layout.csv_rows(
        table_layout.decoded(data), self._delimiter
      )
    except UnicodeDecodeError as error:
      raise ValueError(
        f"{field}.path: {self.name}: the header has byte "
        f"0x{data[error.start]:02x} at byte {error.start}, which is not UTF-8; "
        f'{field}.encoding names another, as "latin-1"'
      ) from error
    except (csv.Error, ValueError) as error:
      raise ValueError(
        f"{field}.path: {self.name}: the first line must be a header of CSV "
        f"or TSV: {error}"
      ) from error
    self._header = tuple(names)


def warn_of_brackets(records: Records, field: str) -> None:
  """Log a warning if captions of CSV or TSV look like lists or objects.

  Programs write these as text where a table has no place for them.
  """
  if not _is_separated(records.path):
    return
  rows = [*records.first_rows()]
  for name in records.layout.columns.captions:
    texts = [row[name].strip() for row in rows if row.get(name)]
    if texts and all(x[:1] + x[-1:] in ("[]", "{}") for x in texts):
      logging.warning(
        "%s.path: captions in column %s of %s are in brackets, as %.60s, which "
        "are read as a part of each; lists and captions by language can be "
        "written in JSON lines",
        *(field, name, records.name, texts[0]),
      )


def _find(path: str, field: str) -> files.File:
  """Return the table of a path, which may be its folder."""
  suffix = pathlib.PurePosixPath(path).suffix
  if suffix in (".jsonl", *_SEPARATED) and not os.path.isdir(path):
    found = files.find(path, f"{field}.path")
    if len(found) > 1:
      raise ValueError(
        f"{field}.path must be one table or the folder of one; got {path!r}, "
        f"which matches {len(found)}"
      )
    return found[0]
  for name in TABLES:
    try:
      return files.facts(f"{path.rstrip('/')}/{name}")
    except (FileNotFoundError, NotADirectoryError):
      continue
    except OSError as error:
      raise OSError(f"{field}.path: {path}: {error}") from error
  raise ValueError(
    f"{field}.path must be a .jsonl, .csv or .tsv file, or a folder with "
    f"{', '.join(TABLES)}; got {path!r}. "
    'format="folder" reads a folder of images with captions beside them'
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


def _copy(path: str, copy: pathlib.Path, encoding: str) -> None:
  """Copy a table to disk, in UTF-8."""
  if not remote.is_remote(path):
    table_index.transcode(pathlib.Path(path), copy, encoding)
    return
  whole_files.write(copy, files.read(path))
  if encoding != "utf-8":
    table_index.transcode(copy, copy, encoding)
