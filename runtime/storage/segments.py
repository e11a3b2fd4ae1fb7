"""A file that grows in a bucket, where no object can be appended to.

Beside the file NAME lie segments, which a reader joins:

  NAME                        the beginning, if any
  NAME.parts/00000001.part    appended later
  NAME.parts/00000002.whole   takes the place of NAME and all lower numbers

`replace` writes a whole segment before it deletes what that replaces: whenever
it is killed, a reader sees the old content or the new one. Folders that were
copied from a bucket to a disk are read, and mended, in the same way.
"""

import contextlib
import os
import pathlib

from runtime.storage import bucket_path, objects, whole_files

_FOLDER_END = ".parts"
_PART, _WHOLE = ".part", ".whole"


def exists(path: pathlib.Path) -> bool:
  """Return whether a file is there, or a segment of it."""
  return path.exists() or bool(_segments(path))


def has_parts(path: pathlib.Path) -> bool:
  """Return whether segments lie beside a file."""
  return bool(_segments(path))


def read(path: pathlib.Path) -> bytes:
  """Return the content of a file; FileNotFoundError where there is none."""
  segments = _segments(path)
  wholes = [i for i, part in enumerate(segments) if part.suffix == _WHOLE]
  if wholes:
    return b"".join(part.read_bytes() for part in segments[wholes[-1] :])
  base = b""
  try:
    base = path.read_bytes()
  except FileNotFoundError:
    if not segments:
      raise
  return base + b"".join(part.read_bytes() for part in segments)


def tail(path: pathlib.Path, num_bytes: int) -> bytes:
  """Return the end of a file; FileNotFoundError where there is none."""
  segments = _segments(path)
  if not segments and not isinstance(path, bucket_path.BucketPath):
    with open(path, "rb") as file:
      file.seek(max(0, file.seek(0, os.SEEK_END) - num_bytes))
      return file.read()
  data = b""
  for part in reversed([path, *segments]):
    with contextlib.suppress(FileNotFoundError):
      data = part.read_bytes() + data
    if part.suffix == _WHOLE or len(data) >= num_bytes:
      break
  if not data and not exists(path):
    raise FileNotFoundError(2, os.strerror(2), str(path))
  return data[-num_bytes:]


def replace(path: pathlib.Path, data: bytes) -> None:
  """Replace the content of a file; no segment is left beside it."""
  segments = _segments(path)
  if not segments:
    with contextlib.suppress(FileNotFoundError):
      if path.read_bytes() == data:
        return
    whole_files.write(path, data)
    return
  whole = _folder(path) / f"{_number(segments[-1]) + 1:08d}{_WHOLE}"
  whole_files.write(whole, data)
  for segment in segments:
    segment.unlink(missing_ok=True)
  whole_files.write(path, data)
  whole.unlink(missing_ok=True)
  if not isinstance(path, bucket_path.BucketPath):
    os.rmdir(_folder(path))


class Appender:
  """Appends to a file in a bucket: first the file, then segments beside it."""

  def __init__(self, path: bucket_path.BucketPath):
    self._path = path
    self._next: pathlib.Path | None = None

  def append(self, data: bytes) -> None:
    """Write a segment.

    Raises:
      BucketError: it could not be written; ConflictError where another process
        writes the same file.
    """
    if self._next is None:
      self._next = self._first()
    objects.write(str(self._next), data, replaces=objects.ABSENT)
    is_base = self._next == self._path
    number = 0 if is_base else _number(self._next)
    self._next = _folder(self._path) / f"{number + 1:08d}{_PART}"

  def _first(self) -> pathlib.Path:
    segments = _segments(self._path)
    if not segments and not self._path.exists():
      return self._path
    number = _number(segments[-1]) if segments else 0
    return _folder(self._path) / f"{number + 1:08d}{_PART}"


def _segments(path: pathlib.Path) -> list[pathlib.Path]:
  """Return the segments of a file in their order."""
  folder = _folder(path)
  if not isinstance(folder, bucket_path.BucketPath) and not folder.is_dir():
    return []
  return sorted(
    (part for part in folder.iterdir() if part.suffix in (_PART, _WHOLE)),
    key=_number,
  )


def _folder(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(path.name + _FOLDER_END)


def _number(segment: pathlib.Path) -> int:
  return int(segment.stem)
