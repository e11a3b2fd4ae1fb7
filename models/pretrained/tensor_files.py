"""Tensors of safetensors and npz files by name, each read when asked for.

Floating-point numbers of 16, 32 and 64 bits become float32. Narrower ones are
the numbers of a quantised model, which mean nothing without its scales.
"""

import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

# Types of safetensors files that NumPy reads, and the names of those that it
# does not.
_READ = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32")
_READ = (*_READ, "U16", "U8", "BOOL")
# Errors of zipfile, zlib and NumPy at damaged bytes.
_BROKEN = (
  OSError,
  ValueError,
  EOFError,
  KeyError,
  NotImplementedError,
  RuntimeError,
  MemoryError,
  OverflowError,
  SyntaxError,
  TypeError,
  struct.error,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
)
# First bytes of files that are often taken for weights, and what they are.
_OTHERS = (
  (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
  (b"<", "a page of HTML or XML: download the file itself"),
  (b"PK\x03\x04", "a zip archive, as npz and PyTorch's files are"),
  (b"\x80", "a pickle, which is not read"),
  (b"{", "JSON"),
)


class Tensors(Mapping[str, np.ndarray]):
  """Tensors of safetensors files."""

  def __init__(self, files: Mapping[str, pathlib.Path]):
    """Open files; `files` has the file of each tensor by its name."""
    self._files = dict(files)
    self._open = {path: _open(path) for path in {*self._files.values()}}
    for path, file in self._open.items():
      held = {*file.keys()}
      for name, where in self._files.items():
        if where == path and name not in held:
          raise ValueError(f"{path} lacks {name}, which its index says it has")

  def __getitem__(self, name: str) -> np.ndarray:
    path = self._files[name]
    kind, _ = self.form(name)
    if kind not in _READ:
      raise ValueError(f"{path}: tensor {name} has the type {kind}")
    try:
      return widened(self._open[path].get_tensor(name))
    except (safetensors.SafetensorError, *_BROKEN) as error:
      raise ValueError(f"{path}: tensor {name} is broken: {error}") from error

  def form(self, name: str) -> tuple[str, tuple[int, ...]]:
    """Return a tensor's type, as safetensors has it, and its shape."""
    part = self._open[self._files[name]].get_slice(name)
    return part.get_dtype(), tuple(part.get_shape())

  def __contains__(self, name: object) -> bool:
    return name in self._files  # Mapping's own would read the tensor

  def __iter__(self) -> Iterator[str]:
    return iter(self._files)

  def __len__(self) -> int:
    return len(self._files)


class NpzTensors(Mapping[str, np.ndarray]):
  """Arrays of an npz file."""

  def __init__(self, path: pathlib.Path):
    """Open a file that holds no Python objects."""
    self._path = path
    # NumPy would leave the file open.
    if not zipfile.is_zipfile(path):
      raise ValueError(f"{path} is no intact npz file{told(path)}")
    try:
      self._file = np.load(path, allow_pickle=False)
    except _BROKEN as error:
      raise ValueError(f"{path} is no intact npz file ({error})") from error

  def __getitem__(self, name: str) -> np.ndarray:
    if name not in self:
      raise KeyError(name)
    try:
      array = self._file[name]
    except _BROKEN as error:
      if "allow_pickle" in str(error):
        raise ValueError(
          f"{self._path}: array {name} holds Python objects, which are a pickle"
          " and are not read; save it as an array of numbers"
        ) from error
      raise ValueError(
        f"{self._path}: array {name} is broken: {error}"
      ) from error
    if not isinstance(array, np.ndarray):  # a member that is no .npy file
      raise ValueError(f"{self._path}: {name} is no array")
    if array.dtype == np.dtype("V2"):
      # NumPy has no name for bfloat16 and stores its bits.
      array = array.view(ml_dtypes.bfloat16)
    return widened(array)

  def __contains__(self, name: object) -> bool:
    return name in self._file.files

  def __iter__(self) -> Iterator[str]:
    return iter(self._file.files)

  def __len__(self) -> int:
    return len(self._file.files)


def names_in(path: pathlib.Path) -> list[str]:
  """Return the names of the tensors in a safetensors file."""
  return list(_open(path).keys())


def widened(array: np.ndarray) -> np.ndarray:
  """Return floating-point numbers as float32, other arrays as they are.

  A float64 beyond float32's range becomes infinite.
  """
  if array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16:
    with np.errstate(over="ignore"):
      return array.astype(np.float32, copy=False)
  return array


def _open(path: pathlib.Path) -> Any:
  try:
    return safetensors.safe_open(path, framework="np")
  except (safetensors.SafetensorError, *_BROKEN) as error:
    reason = " ".join(str(error).split())[:200]
    raise ValueError(
      f"{path} is no intact safetensors file ({reason}){told(path)}"
    ) from error


def told(path: pathlib.Path) -> str:
  """Return the end of a message about a broken file: what it begins as."""
  try:
    with path.open("rb") as file:
      first = file.read(64)
  except OSError:
    return ""
  if not first:
    return ": it is empty; get it again"
  for begin, meaning in _OTHERS:
    if first.lstrip().startswith(begin) and meaning not in path.suffix.upper():
      return f": it begins as {meaning}"
  return "; get it again"
