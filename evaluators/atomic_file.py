"""Files that are there whole or not at all, whatever stops the process."""

import os
import pathlib
import tempfile


def write(path: str | os.PathLike, data: bytes) -> None:
  """Replace a file, or leave what was there (full disk, kill, no rights)."""
  path = pathlib.Path(path)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
  try:
    with os.fdopen(handle, "wb") as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    # mkstemp makes a file that only its owner can read.
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise
