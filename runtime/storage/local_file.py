"""Files that are mapped into memory, wherever they lie."""

import hashlib
import os
import pathlib

from runtime.storage import bucket_path, objects, whole_files


def get(
  path: str, cache_dir: pathlib.Path
) -> tuple[pathlib.Path, tuple[int | str, ...]]:
  """Return the path of a file on this disk, and facts that tell its version.

  A version of an object in a bucket is copied to the disk once.

  Args:
    path: path, or address of an object.
    cache_dir: folder for copies.

  Raises:
    OSError: there is no such file.
    BucketError: the bucket does not answer, or refuses.
  """
  file = bucket_path.make(path)
  if not isinstance(file, bucket_path.BucketPath):
    stat = file.stat()
    return file, (stat.st_size, stat.st_mtime_ns)
  version = objects.version(str(file))
  if version == objects.ABSENT:
    raise FileNotFoundError(2, os.strerror(2), path)
  digest = hashlib.sha256(f"{file} {version}".encode()).hexdigest()[:32]
  local = cache_dir / f"{digest}{file.suffix}"
  if not local.exists():
    cache_dir.mkdir(parents=True, exist_ok=True)
    with whole_files.new_file(local) as temporary:
      objects.download([(str(file), str(temporary))])
  return local, (version,)
