"""A folder of this disk whose whole files are also in a bucket.

Work that maps files into memory, sorts on disk or shares files between
processes needs a disk. For a folder in a bucket it has a temporary one
(TMPDIR), which is as large as the files that the work reads and writes; each
file is copied into the bucket before it is there on the disk, so that nothing
that a kill leaves is lacking in the bucket. For a folder on a disk a mirror
does nothing more than whole_files.py.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from runtime.storage import bucket_path, committed, objects, whole_files


@dataclasses.dataclass(frozen=True)
class Mirror:
  """Folder on this disk, and its copy in a bucket, if any; can be pickled.

  All paths are below `local`. Methods raise objects.BucketError where the
  bucket does not answer.

  Attributes:
    local: folder on this disk.
    url: address of the copy; "" for none.
  """

  local: pathlib.Path = pathlib.Path()
  url: str = ""

  @property
  def address(self) -> pathlib.Path:
    """Return the folder that lasts: the copy, or without one `local`."""
    return bucket_path.make(self.url) if self.url else self.local

  @contextlib.contextmanager
  def replacing(self, path: pathlib.Path) -> Iterator[BinaryIO]:
    """Yield a new file, as whole_files.replacing does."""
    with whole_files.replacing(path) as file:
      yield file
      if self.url:
        file.flush()
        objects.upload([(file.name, self._url(path))])

  @contextlib.contextmanager
  def new_file(self, path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a path beside `path`, as whole_files.new_file does."""
    with whole_files.new_file(path) as temporary:
      yield temporary
      if self.url:
        objects.upload([(str(temporary), self._url(path))])

  @contextlib.contextmanager
  def new_folder(
    self, path: pathlib.Path, *, last: str
  ) -> Iterator[pathlib.Path]:
    """Yield a folder that is renamed to `path`, which it may replace.

    Args:
      path: folder.
      last: name of the file in it that says that the folder is whole.
    """
    with whole_files.new_folder(path, replaces=True) as temporary:
      yield temporary
      if self.url:
        folder = bucket_path.BucketPath(self._url(path))
        committed.upload_files(temporary, folder, lambda name: name != last)
        objects.upload([(str(temporary / last), str(folder / last))])

  def write(self, path: pathlib.Path, data: bytes) -> None:
    """Write a file, as whole_files.write does."""
    with self.replacing(path) as file:
      file.write(data)

  def push(self, path: pathlib.Path) -> None:
    """Copy a file that has grown on the disk, if it is there."""
    if self.url and path.exists():
      objects.upload([(str(path), self._url(path))])

  def fetch(self, *paths: pathlib.Path) -> None:
    """Copy files, and all below folders, that the disk lacks to it."""
    if not self.url:
      return
    pairs = []
    for path in paths:
      if path.is_file():
        continue
      names = objects.sizes(self._url(path))
      files = [path / name for name in names]
      if not names and objects.version(self._url(path)) != objects.ABSENT:
        files = [path]
      pairs += [(self._url(file), file) for file in files if not file.exists()]
    objects.download((url, str(_beside(file))) for url, file in pairs)
    for _, file in pairs:
      _beside(file).replace(file)

  def delete(self, path: pathlib.Path) -> None:
    """Delete a file, if it is there."""
    if self.url:
      objects.delete([self._url(path)])
    path.unlink(missing_ok=True)

  def sizes(self, path: pathlib.Path) -> dict[str, int]:
    """Return {name: bytes} of all files below a folder that last."""
    return whole_files.sizes(self.address / path.relative_to(self.local))

  def _url(self, path: pathlib.Path) -> str:
    return f"{self.url}/{path.relative_to(self.local).as_posix()}"


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> Iterator[Mirror]:
  """Yield the mirror of a folder on a disk or in a bucket."""
  if not isinstance(folder, bucket_path.BucketPath):
    yield Mirror(folder)
    return
  with committed.staging() as temporary:
    local = temporary / "folder"
    local.mkdir()
    yield Mirror(local, str(folder))


def _beside(file: pathlib.Path) -> pathlib.Path:
  """Return the path of a file that is being downloaded; makes its folder."""
  file.parent.mkdir(parents=True, exist_ok=True)
  return file.with_name(f".{file.name}.tmp-download")
