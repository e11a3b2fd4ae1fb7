"""Arrays in .npy files that a person names."""

import math
import os
from collections.abc import Iterator

import numpy as np

from input_pipeline.storage import file_kinds, files

_MAGIC = b"\x93NUMPY"
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


def load(path: str | os.PathLike[str]) -> np.ndarray:
  """Return the array of a file, memory-mapped, read-only.

  Raises:
    OSError: the file cannot be read.
    ValueError: the file holds no array, or one of Python objects; the message
      says what it is instead.
  """
  with open(path, "rb") as file:
    head = file.read(file_kinds.NUM_BYTES)
  _check(os.fspath(path), head)
  return np.load(path, mmap_mode="r", allow_pickle=False)


class Items:
  """Array of a file, on disk or at a URL, of which one item is read at a time.

  Attributes:
    path: the file.
    shape: shape of the array; an item has shape[1:].
    dtype: type of its numbers or texts.
  """

  def __init__(self, path: str):
    """Read the header.

    Raises:
      ValueError: the file holds no array whose items lie one after the other;
        the message names it.
      faults.ExampleError: it cannot be read.
    """
    self.path = path
    with files.open_file(path) as file:
      _check(path, file.read(file_kinds.NUM_BYTES))
      file.seek(0)
      version = np.lib.format.read_magic(file)
      if version not in _HEADERS:
        raise ValueError(f"{path} has version {version} of .npy; 1.0 or 2.0 is")
      self.shape, is_fortran, self.dtype = _HEADERS[version](file)
      self._start = file.tell()
    if is_fortran or not self.shape or self.dtype.hasobject:
      raise ValueError(
        f"{path} must hold an array in C order, of numbers or texts; got shape "
        f"{self.shape}, {self.dtype}{', in Fortran order' * is_fortran}"
      )

  def __len__(self) -> int:
    return self.shape[0]

  def __iter__(self) -> Iterator[np.ndarray]:
    return (self[index] for index in range(len(self)))

  def __getitem__(self, index: int) -> np.ndarray:
    """Return an item, read-only; raises faults.ExampleError."""
    if not 0 <= index < len(self):
      raise IndexError(f"{self.path} has no item {index} of {len(self)}")
    size = math.prod(self.shape[1:]) * self.dtype.itemsize
    start = self._start + index * size
    data = files.read_range(self.path, start, start + size)
    return np.frombuffer(data, self.dtype).reshape(self.shape[1:])


def _check(path: str, head: bytes) -> None:
  if not head.startswith(_MAGIC):
    kind = file_kinds.describe(head) or f"data that begins with {head[:16]!r}"
    raise ValueError(f"{path} must be a .npy file; got {kind}")
