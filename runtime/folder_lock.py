"""A lock that one process holds while it fills a folder that others read."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from absl import logging


@contextlib.contextmanager
def hold(folder: pathlib.Path, *, waits: bool = True) -> Iterator[None]:
  """Hold the lock of a folder; the kernel frees it if we are killed.

  Where another process holds it, wait for that one, or raise BlockingIOError.
  """
  with open(folder / ".lock", "a") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      if not waits:
        raise
      logging.warning("Waiting for another process that prepares %s", folder)
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
