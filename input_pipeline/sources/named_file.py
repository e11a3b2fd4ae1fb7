"""Image file named by a path or URL in a row of a table."""

import os
import posixpath

from input_pipeline import faults
from input_pipeline.storage import files, remote

# Schemes of URLs that a row may have. Others (file, memory, zip, ...) read from
# this machine, which a downloaded table must not.
_SCHEMES = frozenset(
  {"http", "https", "gs", "gcs", "s3", "s3a", "az", "abfs", "abfss", "hf"}
)


def read(name: str, folder: str) -> bytes:
  """Return the file `name`, relative to the folder of its table.

  Raises faults.ExampleError: "image_missing" for an empty name,
  "unsafe_member" for a file outside the folder, and the faults of `files.read`.
  """
  return files.read(resolve(name, folder))


def resolve(name: str, folder: str) -> str:
  """Return the path or URL of a file; raises as `read`."""
  if not name or "\0" in name:
    raise faults.ExampleError("image_missing", f"no image is named: {name!r}")
  scheme = remote.scheme(name)
  if "::" in name or scheme not in (*_SCHEMES, remote.scheme(folder), ""):
    raise faults.ExampleError(
      "unsafe_member",
      f"{name!r}: images are named by a path below {folder}, or a URL of "
      f"{', '.join(sorted(_SCHEMES))}",
    )
  if scheme in _SCHEMES:
    return name
  if remote.is_remote(folder):
    path = name if scheme else f"{folder}/{name}"
    start = path.index("://") + 3
    plain, root = posixpath.normpath(path[start:]), folder[start:]
  else:
    start, root = 0, os.path.abspath(folder)
    path = plain = os.path.normpath(os.path.join(root, name))
  if plain == root or posixpath.commonpath([plain, root]) != root:
    raise faults.ExampleError(
      "unsafe_member", f"{name!r} is not below the folder {folder}"
    )
  return path[:start] + plain
