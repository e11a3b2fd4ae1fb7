"""Records of image-text pairs in ArrayRecord files, read in any order.

A record is a msgpack map (no pickle: reading a foreign file runs no code):

  {"key": str, "image": bytes, "texts": {language: [str, ...]}}

`key` is unique in the data set, `image` an encoded PNG, JPEG or WebP, and
`language` an ISO 639-1 code, of one caption or more; a string is one caption.
Files are written with group_size:1, one record a chunk, so that a random read
decompresses nothing but its own record.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import cast

import msgpack
import numpy as np
from array_record.python import array_record_data_source, array_record_module

from input_pipeline.sources import record as record_lib

Record = record_lib.Record


def pack(record: Record) -> bytes:
  """Return the stored form of a record."""
  texts = {language: list(texts) for language, texts in record.texts.items()}
  fields = {"key": record.key, "image": record.image, "texts": texts}
  # packb is typed as if it could return None.
  return cast(bytes, msgpack.packb(fields))


def unpack(data: bytes) -> Record:
  """Return the record stored in `data`; ValueError if it is not one."""
  try:
    fields = msgpack.unpackb(data)
    texts = {
      language: (texts,) if isinstance(texts, str) else tuple(texts)
      for language, texts in fields["texts"].items()
    }
    return Record(**fields | {"texts": texts})
  except (
    *(ValueError, TypeError, KeyError, AttributeError),
    msgpack.UnpackException,
  ) as error:
    raise ValueError(
      "not a record of input_pipeline/sources/array_record.py: expected a "
      f"msgpack map of key, image, texts; got {len(data)} bytes ({error})"
    ) from error


def write(path: pathlib.Path, records: Iterable[Record]) -> int:
  """Write a file of records, on disk when this returns; return their number.

  Raises OSError when the file cannot be written (no folder, disk full).
  """
  num_records = 0
  try:
    # Python creates the file first, because the writer reports a missing
    # folder or permission only as a closed file.
    path.touch()
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
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
  written = _num_records(path)
  if written != num_records:
    raise OSError(
      f"cannot write {path.name}: {num_records} records went in, {written} can "
      "be read back. Is the disk full?"
    )
  return num_records


class Records:
  """Random access to the records of one file or several, as a Grain source.

  Raises FileNotFoundError for a missing file, and ValueError (at the record)
  for bytes that are not a record.
  """

  def __init__(self, *paths: pathlib.Path):
    for path in paths:
      if not path.is_file():
        raise FileNotFoundError(f"no record file {path}")
    self._paths = paths
    # An empty file has no record to find: ArrayRecordDataSource refuses it.
    filled = [str(path) for path in paths if _num_records(path)]
    self._source = (
      array_record_data_source.ArrayRecordDataSource(filled) if filled else ()
    )

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    return unpack(self._source[index])

  def __iter__(self) -> Iterator[Record]:
    for index in range(len(self)):
      yield self[index]

  def fingerprint(self) -> str:
    """Return hex digits of the files' names, sizes and times of change."""
    facts = [
      (path.name, path.stat().st_size, path.stat().st_mtime_ns)
      for path in self._paths
    ]
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()

  def uids(self) -> np.ndarray:
    """Return each record's UID; reads every record."""
    return np.array(
      [record_lib.uid(record.key) for record in self], record_lib.UID
    )

  def __repr__(self) -> str:
    return f"Records({', '.join(map(str, self._paths))})"


def _num_records(path: pathlib.Path) -> int:
  reader = array_record_module.ArrayRecordReader(str(path))
  try:
    return reader.num_records() if reader.ok() else 0
  finally:
    reader.close()
