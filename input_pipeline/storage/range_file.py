"""Remote file as a seekable file of Python."""

import io
from collections.abc import Callable
from typing import Any


class RangeFile(io.RawIOBase):
  """A file of known size, read by ranges."""

  def __init__(self, size: int, read: Callable[[int, int], bytes]):
    """Begin at the start.

    Args:
      size: size in bytes.
      read: function of a start and a stop that returns the bytes between.
    """
    self._size = size
    self._read_range = read
    self._position = 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def tell(self) -> int:
    return self._position

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    base = {
      io.SEEK_SET: 0,
      io.SEEK_CUR: self._position,
      io.SEEK_END: self._size,
    }[whence]
    self._position = max(0, base + offset)
    return self._position

  def readinto(self, buffer: Any) -> int:
    stop = min(self._position + len(buffer), self._size)
    if stop <= self._position:
      return 0
    data = self._read_range(self._position, stop)
    buffer[: len(data)] = data
    self._position = stop
    return len(data)
