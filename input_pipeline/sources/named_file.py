"""Image file named by a path or URL in a row of a table.

A path is below a folder, that of its table or `image_root`. A link within the
folder is followed where a relative path leads over it; an absolute path is
compared with all links resolved, as the folder may be a link itself.
"""

import os
import posixpath
import re

from input_pipeline import faults
from input_pipeline.sources import image_ids
from input_pipeline.storage import files, patterns, web
from runtime.storage import remote

# Schemes of URLs that a row may have. Others (memory, zip, ...) read from this
# machine, which a downloaded table must not.
_SCHEMES = frozenset(
  {"http", "https", "gs", "gcs", "s3", "s3a", "az", "abfs", "abfss", "hf"}
)
# Letters of a file's name that mean something else in an address.
_IN_ADDRESS = re.compile(r"[?#]|%(?![0-9A-Fa-f]{2})")


def folder_of(image_root: str, path: str) -> str:
  """Return the folder that images of a table are below.

  Args:
    image_root: field of the source's section.
    path: path of the table.
  """
  folder = image_root or path.rpartition("/")[0] or "."
  return remote.local_path(folder)


def facts_of(image_root: str) -> tuple[str, ...]:
  """Return the part of a fingerprint that the folder is; () by default."""
  return (image_root,) if image_root else ()


def read(name: str, folder: str, field: str) -> bytes:
  """Return the file `name`, below `folder`.

  Args:
    name: path or URL of the file.
    folder: folder that `folder_of` returns.
    field: field of the source's section, for messages.

  Raises:
    faults.ExampleError: "image_missing" for an empty name, "unsafe_member" for
      a file outside the folder, and the faults of `files.read`.
  """
  path = resolve(name, folder, field)
  try:
    return files.read(path)
  except faults.ExampleError as error:
    if error.kind != "file_missing" or remote.is_remote(path):
      raise
    # A disk may have the other Unicode form of an accent.
    for form in patterns.forms(path):
      if os.path.exists(form):
        return files.read(form)
    raise faults.ExampleError(
      error.kind, f"{error}; {field}.image_root names the folder of images"
    ) from error


def image_id(name: str, folder: str, field: str) -> bytes:
  """Return the name of an image; see image_ids. Raises as `read`."""
  stored = stored_id(name, folder, field)
  return stored or image_ids.of_bytes(read(name, folder, field))


def stored_id(name: str, folder: str, field: str) -> bytes:
  """Return the name of an image on the web, b"" for another; see `read`."""
  if not {remote.scheme(name), remote.scheme(folder)} & {*web.SCHEMES}:
    return b""
  path = resolve(name, folder, field)
  if remote.scheme(path) not in web.SCHEMES:
    return b""
  return image_ids.of_address(path)


def resolve(name: str, folder: str, field: str) -> str:
  """Return the path or URL of a file; raises as `read`."""
  if not name or "\0" in name:
    raise faults.ExampleError("image_missing", f"no image is named: {name!r}")
  scheme = remote.scheme(name)
  if scheme in ("file", "local"):
    name, scheme = remote.local_path(name), ""
  is_chain = "::" in name and ("://" in name or remote.is_remote(folder))
  if is_chain or scheme not in (*_SCHEMES, remote.scheme(folder), ""):
    raise faults.ExampleError(
      "unsafe_member",
      f"{name!r}: images are named by a path below {folder}, or a URL of "
      f"{', '.join(sorted(_SCHEMES))}",
    )
  if scheme in _SCHEMES:
    return name
  start = 0
  if remote.is_remote(folder):
    if remote.scheme(folder) in web.SCHEMES:
      # In an address they would begin a query, a fragment or a letter's code.
      name = _IN_ADDRESS.sub(lambda match: f"%{ord(match[0]):02X}", name)
    path = name if scheme else f"{folder}/{name}"
    start = path.index("://") + 3
    plain, root = posixpath.normpath(path[start:]), folder[start:]
    root = root.rstrip("/")
  elif os.path.isabs(name):
    path, root = name, os.path.realpath(folder)
    plain = os.path.realpath(name)
  else:
    root = os.path.abspath(folder)
    path = plain = os.path.normpath(os.path.join(root, name))
  if plain == root or posixpath.commonpath([plain, root]) != root:
    leads = f", which leads to {plain}," if plain != name else ""
    raise faults.ExampleError(
      "unsafe_member",
      f"{name!r}{leads} is not below the folder {folder}; "
      f"name one above it in {field}.image_root",
    )
  return path[:start] + plain
