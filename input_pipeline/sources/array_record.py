"""Records of image-text pairs in ArrayRecord files, read in any order.

A record is a msgpack map (no pickle: reading a foreign file runs no code):

  {"key": str, "image": bytes, "texts": {language: [str, ...]}}

`key` is unique in the data set, `image` an encoded PNG, JPEG or WebP, and
`language` an ISO 639-1 code, of one caption or more; a string is one caption.
Files are written with group_size:1, one record a chunk, so that a random read
decompresses nothing but its own record.
"""

import bisect
import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import msgpack
import numpy as np
from array_record.python import array_record_data_source, array_record_module

from input_pipeline import faults
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import file_kinds, files
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

Record = record_lib.Record

# Options of the writer for images without compression of their own, and for
# JPEG, PNG and WebP, which compress no further.
COMPRESSED = "group_size:1"
UNCOMPRESSED = "group_size:1,uncompressed"

# Schemes that array_record's own readers support.
SCHEMES = ("", "file", "gs")
# Footers read at once, as many as array_record's own data source reads.
_NUM_OPENED = 64


def pack(record: Record) -> bytes:
  """Return the stored form of a record."""
  texts = {language: list(texts) for language, texts in record.texts.items()}
  fields = {"key": record.key, "image": record.image, "texts": texts}
  # packb's type admits None, which it does not return.
  return cast(bytes, msgpack.packb(fields))


def unpack(data: bytes) -> Record:
  """Return the record stored in `data`.

  Raises faults.ExampleError, "record_broken", if it is no record.
  """
  try:
    fields = msgpack.unpackb(data)
    texts = {
      language: (texts,) if isinstance(texts, str) else tuple(texts)
      for language, texts in fields["texts"].items()
    }
    record = Record(**fields | {"texts": texts})
    if not isinstance(record.key, str) or not isinstance(record.image, bytes):
      raise TypeError("key is not text, or image is not bytes")
    if not all(
      isinstance(text, str) for texts in texts.values() for text in texts
    ):
      raise TypeError("a caption is not text")
  except (
    *(ValueError, TypeError, KeyError, AttributeError),
    msgpack.UnpackException,
  ) as error:
    raise faults.ExampleError(
      "record_broken",
      "not a record of input_pipeline/sources/array_record.py: expected a "
      f"msgpack map of key, image, texts; got {len(data)} bytes ({error})",
    ) from error
  return record


def write(
  path: pathlib.Path, records: Iterable[Record], options: str = COMPRESSED
) -> int:
  """Write a file of records, on disk when this returns; return their number.

  Raises OSError when the file cannot be written (no folder, disk full).
  """
  num_records = 0
  try:
    # Python creates the file first, because the writer reports a missing
    # folder or permission only as a closed file.
    path.touch()
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    for record in records:
      writer.write(pack(record))
      num_records += 1
    writer.close()
  except RuntimeError as error:  # the writer's only exception
    # "write() failed: No space left on device; writing ...; at byte ...".
    reason = str(error).split(";")[0]
    raise OSError(f"cannot write {path.name}: {reason}") from error
  with open(path, "rb") as file:
    os.fsync(file.fileno())
  # A writer whose last flush fails can close without an exception.
  written = _num_records(str(path))
  if written != num_records:
    raise OSError(
      f"cannot write {path.name}: {num_records} records went in, {written} can "
      "be read back. Is the disk full?"
    )
  return num_records


@dataclasses.dataclass
class Span:
  """Range of records of a file, with the fields of a FileInstruction."""

  filename: str
  skip: int
  take: int
  examples_in_shard: int


class Records:
  """Random access to the records of one file or several, as a Grain source.

  Args:
    paths: paths of local files, or gs:// URLs.
    counts: numbers of their records; None opens every file to count them.
    uids_path: .npy file of their UIDs, or None.
    image_ids_path: .npy file of their images' names, or None.

  Raises FileNotFoundError for a missing file, ValueError for one that is not
  an ArrayRecord file or is cut short, and at a record faults.ExampleError.
  """

  def __init__(
    self,
    *paths: str | os.PathLike,
    counts: Sequence[int] | None = None,
    uids_path: str | None = None,
    image_ids_path: str | None = None,
  ):
    self._uids_path = uids_path
    self._image_ids_path = image_ids_path
    self._image_ids: np.ndarray | None = None
    self._paths = tuple(map(_plain, paths))
    for path in self._paths:
      if not remote.is_remote(path) and not os.path.isfile(path):
        raise FileNotFoundError(f"no record file {path}")
    if counts is None:
      counts = _counts(self._paths)
    # Empty files are left out: ArrayRecordDataSource refuses them.
    self._spans = [
      Span(path, 0, count, count)
      for path, count in zip(self._paths, counts, strict=True)
      if count
    ]
    takes = (span.take for span in self._spans)
    self._starts = list(itertools.accumulate(takes, initial=0))[:-1]
    # Not the class in grain.sources: it adds traces and imports JAX, which
    # processes that only read must not import.
    self._source = (
      array_record_data_source.ArrayRecordDataSource(self._spans)
      if self._spans
      else ()
    )

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    if not 0 <= index < len(self):
      raise IndexError(f"no record {index} of {len(self)}")
    try:
      data = self._source[index]
    except (RuntimeError, ValueError, IndexError) as error:
      raise self._fault(index, error) from error
    span, number = self._located(index)
    record = unpack(data)
    origin = f"{span.filename}, record {number}"
    return dataclasses.replace(record, origin=origin)

  def __iter__(self) -> Iterator[Record]:
    for index in range(len(self)):
      yield self[index]

  def fingerprint(self) -> str:
    """Return hex digits of the files' names, sizes and times of change."""
    facts = []
    for path in self._paths:
      if remote.is_remote(path):
        facts.append((path, 0, 0))
      else:
        status = os.stat(path)
        facts.append(
          (os.path.basename(path), status.st_size, status.st_mtime_ns)
        )
    return record_lib.digest(facts)

  def image_state(self) -> str:
    """Return hex digits of sizes and versions of the files at a URL."""
    return record_lib.remote_state(self._paths)

  def image_id(self, index: int) -> bytes:
    """Return the name of a record's image, stored or made; see image_ids."""
    if self._image_ids_path is None:
      return self[index].image_id()
    if self._image_ids is None:
      with files.open_file(self._image_ids_path) as file:
        self._image_ids = np.load(file, allow_pickle=False)
    # An item alone would lack the NUL bytes at its end.
    return self._image_ids[index : index + 1].tobytes()

  # Pickled without what is read when it is needed.
  def __getstate__(self):
    return self.__dict__ | {"_image_ids": None}

  def path_of(self, index: int) -> str:
    """Return the path of the file that has a record."""
    return self._located(index)[0].filename

  def uids(self) -> np.ndarray:
    """Return each record's UID; without a file of them, reads every record.

    A record that cannot be read has a UID made from its index.
    """
    if self._uids_path is not None:
      with files.open_file(self._uids_path) as file:
        return np.load(file, allow_pickle=False)
    uids = np.empty(len(self), uids_lib.UID)
    for index in range(len(self)):
      try:
        uids[index] = uids_lib.uid(self[index].key)
      except faults.ExampleError:
        uids[index] = uids_lib.uid(f"broken record {index}")
    return uids

  def __repr__(self) -> str:
    return f"Records({', '.join(self._paths)})"

  def _located(self, index: int) -> tuple["Span", int]:
    """Return the file of a record, and its number there."""
    at = bisect.bisect_right(self._starts, index) - 1
    return self._spans[at], index - self._starts[at]

  def _fault(self, index: int, error: Exception) -> faults.ExampleError:
    """Return the fault of a record that could not be read."""
    span, number = self._located(index)
    location = f"record {number} of {span.filename}"
    if remote.is_remote(span.filename):
      return faults.ExampleError("read_failed", f"{location}: {error}")
    if not os.path.isfile(span.filename):
      return faults.ExampleError("file_missing", f"{span.filename} is gone")
    return faults.ExampleError(
      "record_broken", f"{location}: {str(error).split(';')[0]}"
    )


def _plain(path: str | os.PathLike) -> str:
  """Return a path in the form that array_record opens."""
  text = os.fspath(path)
  return text.partition("://")[2] if remote.scheme(text) == "file" else text


def _counts(paths: Sequence[str]) -> list[int]:
  """Return each file's number of records; ValueError for another file."""
  with concurrent.futures.ThreadPoolExecutor(_NUM_OPENED) as pool:
    counts = list(pool.map(_num_records, paths))
  for path, count in zip(paths, counts, strict=True):
    if count is None:
      with files.open_file(path) as file:
        kind = file_kinds.describe(file.read(file_kinds.NUM_BYTES))
      if kind and "ArrayRecord" not in kind:
        raise ValueError(f"{path} is no ArrayRecord file but {kind}")
      raise ValueError(
        f"{path} is not an ArrayRecord file, or one that was cut short"
      )
  return cast(list[int], counts)


def _num_records(path: str) -> int | None:
  """Return the number of readable records, None for a broken file."""
  try:
    reader = array_record_module.ArrayRecordReader(path)
    count = reader.num_records() if reader.ok() else None
    reader.close()
  except RuntimeError:  # the reader's only exception, also when it is closed
    return None
  return count
