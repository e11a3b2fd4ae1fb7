"""Files and folders that are written whole or not at all.

Files may also be objects of a bucket, which a store writes whole by itself.
"""

import contextlib
import io
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from runtime.storage import bucket_path, objects


def write(path: str | os.PathLike, data: bytes) -> None:
  """Replace a file, or leave the old one (full disk, kill, no rights)."""
  if isinstance(path, bucket_path.BucketPath):
    objects.replace(str(path), data)
    return
  with replacing(path) as file:
    file.write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Yield a new file that replaces `path` on exit without an exception."""
  if isinstance(path, bucket_path.BucketPath):
    memory = io.BytesIO()
    yield memory
    objects.replace(str(path), memory.getvalue())
    return
  path = pathlib.Path(path)
  with new_file(path) as temporary, open(temporary, "wb") as file:
    yield file
    file.flush()
    os.fsync(file.fileno())
  fsync_folder(path.parent)


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a path beside `path`; the file there replaces it if all goes well.

  Nothing is forced to the disk.
  """
  temporary = _beside(path)
  try:
    yield temporary
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def new_folder(
  path: pathlib.Path, *, replaces: bool = False
) -> Iterator[pathlib.Path]:
  """Yield a folder that is renamed to `path` on exit without an exception.

  Args:
    path: missing, or an empty folder.
    replaces: whether `path` may also be a folder to delete.

  Raises:
    OSError: on entering, if no folder can be made.
  """
  temporary = _beside(path)
  temporary.mkdir(parents=True)
  try:
    yield temporary
    if replaces and path.exists():
      old = _beside(path)
      os.rename(path, old)
      shutil.rmtree(old, ignore_errors=True)
    os.rename(temporary, path)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
  fsync_folder(path.parent)


def fsync_folder(folder: pathlib.Path) -> None:
  """Flush a folder's list of files to disk."""
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def _beside(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f".{path.name}.tmp-{secrets.token_hex(8)}")
