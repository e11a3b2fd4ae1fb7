"""Files that are there whole or not at all, whatever stops the process."""

import os
import pathlib
import secrets


def write(path: str | os.PathLike, data: bytes) -> None:
  """Replace a file, or leave what was there (full disk, kill, no rights)."""
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(8)}")
  try:
    with open(temporary, "wb") as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
  fsync_folder(path.parent)


def fsync_folder(folder: pathlib.Path) -> None:
  """Put on disk which files a folder has."""
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
