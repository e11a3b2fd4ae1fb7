"""Files and folders that are written whole or not at all.

Files may also be objects of a bucket, which a store writes whole by itself.
"""

import contextlib
import io
import mmap
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from runtime.storage import bucket_path, committed, objects


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
    try:
      yield file
    except OSError as error:
      if error.errno is None:
        _raise_reason(file)
      raise
    file.flush()
    os.fsync(file.fileno())
  fsync_folder(path.parent)


@contextlib.contextmanager
def streamed(path: pathlib.Path) -> Iterator[BinaryIO]:
  """Yield a new file as `replacing` does, to be written from front to back.

  A file of any size: in a bucket it needs neither memory nor a disk.
  """
  if isinstance(path, bucket_path.BucketPath):
    with objects.streamed(str(path)) as file:
      yield file
    return
  with replacing(path) as file:
    yield file


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a path on this disk whose file replaces `path` if all goes well.

  It is beside `path`; for one in a bucket it is temporary (TMPDIR), and is
  uploaded. Nothing is forced to the disk.
  """
  if isinstance(path, bucket_path.BucketPath):
    with committed.staging() as folder:
      yield folder / path.name
      objects.upload([(str(folder / path.name), str(path))])
    return
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

  One in a bucket lies on this disk (TMPDIR) before it is uploaded.

  Args:
    path: missing, or an empty folder.
    replaces: whether `path` may also be a folder to delete; in a bucket it is
      replaced.

  Raises:
    OSError: on entering, if no folder can be made.
  """
  if isinstance(path, bucket_path.BucketPath):
    with committed.staging() as staged:
      local = staged / "folder"
      local.mkdir()
      yield local
      (local / committed.COMMIT).touch()
      committed.upload(local, path)
    return
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


def mapped(path: pathlib.Path) -> mmap.mmap | bytes:
  """Return a file's bytes, mapped into memory; of one in a bucket, read."""
  if isinstance(path, bucket_path.BucketPath):
    return path.read_bytes()
  with open(path, "rb") as file:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def is_whole(folder: pathlib.Path) -> bool:
  """Return whether a folder is there that `new_folder` made."""
  if isinstance(folder, bucket_path.BucketPath):
    return (folder / committed.COMMIT).is_file()
  return folder.exists()


def sizes(folder: pathlib.Path) -> dict[str, int]:
  """Return {name: bytes} of all files below a folder, at any depth."""
  if isinstance(folder, bucket_path.BucketPath):
    return objects.sizes(str(folder))
  return {
    path.relative_to(folder).as_posix(): path.stat().st_size
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def move(path: pathlib.Path, target: pathlib.Path) -> None:
  """Move a file; a kill leaves it in either place, or whole in both."""
  if isinstance(path, bucket_path.BucketPath):
    objects.copy([(str(path), str(target))])
    objects.delete([str(path)])
  else:
    os.replace(path, target)


def delete_folder(folder: pathlib.Path) -> None:
  """Delete a folder and all below it; one that is not there is no error."""
  if isinstance(folder, bucket_path.BucketPath):
    objects.delete(str(folder / name) for name in objects.sizes(str(folder)))
  else:
    shutil.rmtree(folder, ignore_errors=True)


def fsync_folder(folder: pathlib.Path) -> None:
  """Flush a folder's list of files to disk."""
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def _raise_reason(file: BinaryIO) -> None:
  """Raise the error of a disk that took a part of what NumPy wrote.

  NumPy gives no reason. On a full disk the next write does, or the one after
  it where a few bytes are left.
  """
  for _ in range(2):
    os.write(file.fileno(), bytes(1 << 16))


def _beside(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f".{path.name}.tmp-{secrets.token_hex(8)}")
