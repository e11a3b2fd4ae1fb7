"""Folders in a bucket that are whole or not there: a commit object comes last.

Its name is Orbax's, so that a folder that Orbax wrote on a disk or to gs:// is
whole here too.
"""

import contextlib
import fcntl
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator

from runtime.storage import bucket_path, objects

COMMIT = "commit_success.txt"
_STAGING = "diptych-staging-"
_LOCK = ".lock"


def names(root: bucket_path.BucketPath) -> list[str]:
  """Return the names of the whole folders below a root."""
  split = (name.split("/") for name in objects.sizes(str(root)))
  return sorted(
    parts[0] for parts in split if len(parts) == 2 and parts[1] == COMMIT
  )


def upload(local: pathlib.Path, folder: bucket_path.BucketPath) -> None:
  """Copy a folder of this disk, which holds a COMMIT, into the bucket.

  Raises:
    BucketError: an object could not be written; the folder is not there then.
  """
  delete(folder)
  upload_files(local, folder)
  commit(local, folder)


def upload_files(
  local: pathlib.Path,
  folder: bucket_path.BucketPath,
  wanted: Callable[[str], bool] = lambda name: True,
) -> None:
  """Copy the files of a folder that are wanted by name, but not its COMMIT."""
  files = [
    path.relative_to(local).as_posix()
    for path in sorted(local.rglob("*"))
    if path.is_file()
  ]
  objects.upload(
    (str(local / name), str(folder / name))
    for name in files
    if name != COMMIT and wanted(name)
  )


def commit(local: pathlib.Path, folder: bucket_path.BucketPath) -> None:
  """Copy the COMMIT of a folder whose files are in the bucket."""
  objects.replace(str(folder / COMMIT), (local / COMMIT).read_bytes())


def download(
  folder: bucket_path.BucketPath, local: pathlib.Path, below: Collection[str]
) -> None:
  """Copy objects of a folder to this disk.

  Args:
    folder: in the bucket.
    local: made anew.
    below: names of subfolders to copy; objects right in the folder are too.
  """
  shutil.rmtree(local, ignore_errors=True)
  pairs = []
  for name in objects.sizes(str(folder)):
    first, is_below, _ = name.partition("/")
    if not is_below or first in below:
      target = local / name
      target.parent.mkdir(parents=True, exist_ok=True)
      pairs.append((str(folder / name), str(target)))
  objects.download(pairs)


def delete(folder: bucket_path.BucketPath) -> None:
  """Delete a folder, its COMMIT first."""
  listed = objects.sizes(str(folder))
  if COMMIT in listed:
    objects.delete([str(folder / COMMIT)])
  objects.delete(str(folder / name) for name in listed if name != COMMIT)


def move(
  folder: bucket_path.BucketPath, target: bucket_path.BucketPath
) -> None:
  """Move a folder to another address, without its COMMIT."""
  listed = [name for name in objects.sizes(str(folder)) if name != COMMIT]
  objects.delete([str(folder / COMMIT)])
  delete(target)
  objects.copy((str(folder / name), str(target / name)) for name in listed)
  delete(folder)


def delete_unfinished(root: bucket_path.BucketPath) -> None:
  """Delete the folders below a root that a kill left without COMMIT."""
  listed = objects.sizes(str(root))
  whole = set(names(root))
  objects.delete(
    str(root / name) for name in listed if name.partition("/")[0] not in whole
  )


@contextlib.contextmanager
def staging() -> Iterator[pathlib.Path]:
  """Yield a temporary folder (TMPDIR); delete those of killed processes."""
  parent = pathlib.Path(tempfile.gettempdir())
  for other in parent.glob(f"{_STAGING}*"):
    with contextlib.suppress(OSError), open(other / _LOCK, "r+") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      shutil.rmtree(other, ignore_errors=True)
  folder = pathlib.Path(tempfile.mkdtemp(prefix=_STAGING))
  try:
    with open(folder / _LOCK, "w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)
