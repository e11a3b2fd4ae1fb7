"""Arrays in .npy files that a person names."""

import os

import numpy as np

from input_pipeline.storage import file_kinds

_MAGIC = b"\x93NUMPY"


def load(path: str | os.PathLike[str]) -> np.ndarray:
  """Return the array of a file, memory-mapped, read-only.

  Raises:
    OSError: the file cannot be read.
    ValueError: the file holds no array, or one of Python objects; the message
      says what it is instead.
  """
  with open(path, "rb") as file:
    head = file.read(file_kinds.NUM_BYTES)
  if not head.startswith(_MAGIC):
    kind = file_kinds.describe(head) or f"data that begins with {head[:16]!r}"
    raise ValueError(f"{path} must be a .npy file; got {kind}")
  return np.load(path, mmap_mode="r", allow_pickle=False)
