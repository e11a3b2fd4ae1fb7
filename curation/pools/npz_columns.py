"""Arrays of the .npz file beside a Parquet file, one row for each of its rows.

DataComp's metadata have CLIP embeddings of images and captions there (b32_img,
b32_txt, l14_img, l14_txt).
"""

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
from absl import logging

from input_pipeline.storage import file_kinds, files

# Bytes skipped at a time on the way to the first row to read.
_SKIPPED = 4 << 20


class Arrays:
  """Arrays of one file, read in order."""

  def __init__(self, path: str, names: Sequence[str], num_rows: int):
    """Open the arrays, all [num_rows, D]; ValueError for another shape."""
    self._stack = contextlib.ExitStack()
    self._members: dict[str, tuple[IO[bytes], np.dtype, int]] = {}
    self._path = path
    self._place = dict.fromkeys(names, 0)
    with self._stack:
      packed = self._stack.enter_context(_unpacked(path))
      for name in names:
        if f"{name}.npy" not in packed.namelist():
          raise ValueError(f"{path} has no array {name}, only {_names(packed)}")
        member = self._stack.enter_context(packed.open(f"{name}.npy"))
        shape, dtype = _header(member, f"{path}, {name}")
        # Rows of another table would be other pairs' embeddings.
        if shape[0] != num_rows:
          raise ValueError(_other_rows(path, name, shape[0], num_rows))
        self._members[name] = member, dtype, shape[1]
      self._stack = self._stack.pop_all()

  def close(self) -> None:
    """Close the file."""
    self._stack.close()

  def read(self, name: str, start: int, stop: int) -> pa.Array:
    """Return rows, not before those that were read; a list [D] for each."""
    member, dtype, width = self._members[name]
    size = width * dtype.itemsize
    skipped = (start - self._place[name]) * size
    while skipped > 0:
      skipped -= len(self._bytes(name, min(skipped, _SKIPPED)))
    data = self._bytes(name, (stop - start) * size)
    self._place[name] = stop
    values = pa.array(np.frombuffer(data, dtype))
    return pa.FixedSizeListArray.from_arrays(values, width)

  def _bytes(self, name: str, size: int) -> bytes:
    data = self._members[name][0].read(size)
    if len(data) < size:
      raise ValueError(f"{self._path}: {name} ends before its last row")
    return data


@contextlib.contextmanager
def opened(
  path: str | None, names: Sequence[str], num_rows: int
) -> Iterator[Arrays | None]:
  """Yield the arrays of a file, of so many rows; None where none is wanted."""
  if path is None or not names:
    yield None
    return
  arrays = Arrays(path, names, num_rows)
  try:
    yield arrays
  finally:
    arrays.close()


def names_of(path: str, num_rows: int) -> tuple[str, ...]:
  """Return the names of the arrays that have so many rows.

  Raises ValueError for a file that is no .npz.
  """
  found = []
  with _unpacked(path) as packed:
    for name in _names(packed):
      with packed.open(f"{name}.npy") as member:
        try:
          shape, _ = _header(member, name)
        except ValueError:
          continue
      if shape[0] == num_rows:
        found.append(name)
      else:
        text = _other_rows(path, name, shape[0], num_rows)
        logging.warning("%s; it is not read", text)
  return tuple(found)


@contextlib.contextmanager
def _unpacked(path: str) -> Iterator[zipfile.ZipFile]:
  with files.open_file(path) as file:
    try:
      packed = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
      file.seek(0)
      kind = file_kinds.describe(file.read(file_kinds.NUM_BYTES)) or str(error)
      raise ValueError(
        f"{path} must be an .npz file of arrays for the Parquet file beside "
        f"it; got {kind}"
      ) from error
    with packed:
      yield packed


def _names(packed: zipfile.ZipFile) -> list[str]:
  names = (name.removesuffix(".npy") for name in packed.namelist())
  return sorted(name for name in names if f"{name}.npy" in packed.namelist())


def _other_rows(path: str, name: str, got: int, num_rows: int) -> str:
  return f"{path}: {name} has {got} rows, the Parquet file beside it {num_rows}"


def _header(member: IO[bytes], name: str) -> tuple[tuple[int, int], np.dtype]:
  """Return shape and type of an array [N, D] of numbers, row by row."""
  version = np.lib.format.read_magic(member)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise ValueError(f"{name}: version {version} of .npy is not known")
  shape, is_fortran, dtype = read(member)
  if len(shape) != 2 or is_fortran or dtype.kind not in "fiu":
    raise ValueError(
      f"{name}: expected numbers [N, D], got {dtype} {list(shape)}"
    )
  return shape, dtype
