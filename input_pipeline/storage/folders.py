"""Files in a folder, on disk or at a URL, and in the folders below it."""

import glob
import os
from collections.abc import Iterator

from input_pipeline.storage import files
from runtime.storage import remote

# Suffixes of images; files of other suffixes are none.
IMAGES = (
  *(".avif", ".avifs", ".heic", ".heif", ".hif"),
  *(".apng", ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"),
  *(".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
  *(".j2c", ".j2k", ".jp2", ".jpx"),
  *(".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
)
# Suffixes of videos that are decoded; a GIF of one frame is none.
VIDEOS = (
  *(".mp4", ".m4v", ".mov", ".3gp", ".3g2"),
  *(".mkv", ".webm", ".gif"),
)


def walk(path: str, field: str) -> dict[str, files.File]:
  """Return the files by their path below a folder, in its order.

  Links are followed. Hidden files and folders, whose names begin with a dot,
  are left out. Raises ValueError, naming `field`, for what is no folder.
  """
  if not path:  # nothing is not all of the disk
    raise ValueError(f"{field} must be a folder; got ''")
  path = remote.local_path(path).rstrip("/") or "/"
  if remote.is_remote(path):
    listed = files.find(f"{glob.escape(path)}/**", field)
    fs, name = remote.file_system(path)
    # As fsspec writes it: memory://a is memory:///a.
    path = fs.unstrip_protocol(name).rstrip("/")
  elif os.path.isdir(path):
    listed = list(_walk(path, frozenset()))
  else:
    raise ValueError(f"{field} must be a folder; got {path!r}")
  start = len(path) + (not path.endswith("/"))
  named = {file.path[start:]: file for file in listed}
  return {
    name: named[name]
    for name in sorted(named)
    if not any(part.startswith(".") for part in name.split("/"))
  }


def is_folder(path: str) -> bool:
  """Return whether a folder is there; at a URL, whether it has a file."""
  if not remote.is_remote(path):
    return os.path.isdir(remote.local_path(path))
  fs, name = remote.file_system(path)
  try:
    return remote.call(fs, "isdir", name, seconds=files.TRY_SECONDS)
  except OSError:
    return False


def _walk(folder: str, above: frozenset[str]) -> Iterator[files.File]:
  real = os.path.realpath(folder)
  if real in above:  # a link to a folder that it is in
    return
  with os.scandir(folder) as entries:
    for entry in entries:
      if entry.is_dir():
        yield from _walk(entry.path, above | {real})
        continue
      try:
        status = entry.stat()
        yield files.File(
          entry.path, status.st_size, f"mtime={status.st_mtime_ns}"
        )
      except OSError:  # a link to nothing, which reading says
        yield files.File(entry.path, 0, "")
