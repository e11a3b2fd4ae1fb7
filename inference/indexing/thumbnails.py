"""Thumbnails of pictures: made, written for a shard of an index, and read.

  thumbnails/thumbnails_N.bin   encoded pictures of shard N, one after another
  thumbnails/thumbnails_N.npy   int64 [n + 1]: start of each row's, and the end

A row whose picture could not be read has none: two starts are equal. Both files
are mapped into memory, so that a thumbnail costs a page or two of the disk.
"""

import dataclasses
import io
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np
from PIL import Image

from inference import pictures, read_ahead
from input_pipeline import faults
from input_pipeline.images import picture
from runtime.storage import whole_files

FOLDER = "thumbnails"
# Longest side in pixels: sharp at 64 pixels on screens of twice the density.
SIDE = 128
MEDIA_TYPE = "image/webp"
# Quality and effort of WebP.
_QUALITY, _EFFORT = 75, 2
# Files read before they are needed.
_AHEAD = 64


def encoded(data: bytes, side: int = SIDE) -> bytes:
  """Return the thumbnail of an encoded picture, as MEDIA_TYPE.

  Args:
    data: file in a format that input_pipeline/images reads.
    side: longest side in pixels; a smaller picture keeps its size.

  Raises:
    faults.ExampleError: the data are no intact picture.
  """
  return _drawn(picture.open_picture(data), side)


def of_pixels(image_YXC: np.ndarray, side: int = SIDE) -> bytes:
  """Return the thumbnail of pixels uint8 [H, W, 3], as MEDIA_TYPE."""
  return _drawn(picture.of_pixels(image_YXC), side)


def of_pictures(
  found: pictures.Pictures, rows: Sequence[int], side: int = SIDE
) -> Iterator[bytes]:
  """Yield the thumbnail of some pictures in order; b"" for one without."""

  def read(row: int) -> bytes:
    try:
      return encoded(found[row].data, side)
    except faults.ExampleError:
      return b""

  with read_ahead.mapped(read, rows, _AHEAD) as made:
    yield from made


def _drawn(opened: picture.Picture, side: int) -> bytes:
  factor = min(side / max(opened.height, opened.width), 1.0)
  height = max(round(opened.height * factor), 1)
  width = max(round(opened.width * factor), 1)
  box = picture.Box(0.0, 0.0, opened.width, opened.height)
  file = io.BytesIO()
  Image.fromarray(opened.resized(box, height, width)).save(
    file, "WEBP", quality=_QUALITY, method=_EFFORT
  )
  return file.getvalue()


def paths(folder: pathlib.Path, number: int) -> tuple[pathlib.Path, ...]:
  """Return the files of the thumbnails and of their starts."""
  name = folder / FOLDER / f"{FOLDER}_{number}"
  return name.with_suffix(".bin"), name.with_suffix(".npy")


def write(
  folder: pathlib.Path, number: int, thumbnails: Iterable[bytes]
) -> int:
  """Write the thumbnails of a shard; return the bytes of all together.

  Args:
    folder: folder of the index.
    number: number of the shard.
    thumbnails: one for each row, b"" for a row without.
  """
  data, starts = paths(folder, number)
  data.parent.mkdir(exist_ok=True)
  ends = [0]
  with whole_files.replacing(data) as file:
    for thumbnail in thumbnails:
      file.write(thumbnail)
      ends.append(ends[-1] + len(thumbnail))
  with whole_files.replacing(starts) as file:
    np.save(file, np.array(ends, np.int64))
  return ends[-1]


@dataclasses.dataclass(frozen=True)
class Thumbnails:
  """Thumbnails of a shard, on the disk.

  Attributes:
    data: bytes of all of them, uint8, not in memory.
    starts_n: start of each row's, and the end; not in memory.
  """

  data: np.ndarray
  starts_n: np.ndarray

  @classmethod
  def read(
    cls, folder: pathlib.Path, number: int, num_rows: int, num_bytes: int
  ) -> Self:
    """Open the files of a shard.

    Raises:
      ValueError: they are not those that were written; it names the file.
    """
    data, starts = paths(folder, number)
    try:
      size = data.stat().st_size
      if size != num_bytes:
        raise ValueError(f"{data} has {size} bytes, not {num_bytes}")
      starts_n = np.load(starts, mmap_mode="r", allow_pickle=False)
      expected = (num_rows + 1,), "int64", 0, num_bytes
      got = starts_n.shape, starts_n.dtype.name, *starts_n.flat[[0, -1]]
      if got != expected:
        raise ValueError(f"{starts} is {got}, not {expected}")
    except (OSError, ValueError, IndexError) as error:
      raise ValueError(
        f"{data.parent} has not the thumbnails that were made: {error}; build"
        " the index again, or restore the file"
      ) from error
    # NumPy maps no empty file.
    mapped = np.memmap(data, np.uint8, "r") if num_bytes else np.zeros(0, "u1")
    return cls(mapped, starts_n)

  def of(self, row: int) -> bytes | None:
    """Return a row's thumbnail, None where it has none."""
    start, end = (int(x) for x in self.starts_n[row : row + 2])
    return self.data[start:end].tobytes() or None
