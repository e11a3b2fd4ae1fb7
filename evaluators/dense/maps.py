"""Masks and depths as arrays, and their resizing.

Masks are indices: PNGs with a palette (whose colours are ignored, as VOC's), or
grey ones of 8 or 16 bits. Depths are grey PNGs of 16 bits. Pillow stretches the
grey values of PNGs of 2 and 4 bits to 255, so these are refused.
"""

import io

import numpy as np
from PIL import Image

from evaluators.dense import dense_set

# Label of a pixel of no class.
VOID = -1
_INDICES = ("P", "L", "1", "I;16", "I")
_WIDE = ("I;16", "I")
# Place of the depth in bits and of the kind of colours in a PNG's header; the
# kind of grey pictures.
_BITS, _COLOURS, _GREY = 24, 25, 0
_PNG = b"\x89PNG\r\n\x1a\n"
# Values that a message lists.
_NUM_NAMED = 5


def read_labels(
  path: str, data: bytes, classes: dense_set.Classes, shape: tuple[int, int]
) -> np.ndarray:
  """Return the class of each pixel, int16 [Y, X]; VOID for none.

  Args:
    path: path of the mask, for messages.
    data: content of the file.
    classes: meaning of its values.
    shape: height and width of the image.

  Raises:
    ValueError: the file is no mask, has another size than the image, or a value
      of no class; the message names the file.
  """
  value_YX = _values(path, data, shape, _INDICES, "a palette or grey values")
  num = len(classes.names)
  label_YX = value_YX.astype(np.int32) - classes.first
  is_void_YX = (label_YX < 0) | np.isin(value_YX, classes.void)
  wrong = np.unique(value_YX[~is_void_YX & (label_YX >= num)])
  if wrong.size:
    shown = ", ".join(str(x) for x in wrong[:_NUM_NAMED].tolist())
    num_more = wrong.size - _NUM_NAMED
    shown += f" and {num_more} more" if num_more > 0 else ""
    raise ValueError(
      f"{path}: values must be {classes.first} to {classes.first + num - 1} of"
      f" the {num} classes, or void ({_voids(classes)}); got {shown}"
    )
  return np.where(is_void_YX, VOID, label_YX).astype(np.int16)


def read_metres(
  path: str, data: bytes, depths: dense_set.Depths, shape: tuple[int, int]
) -> np.ndarray:
  """Return the depth of each pixel, float32 [Y, X] in metres; 0 for none.

  Depths at or beyond the bounds of `depths` are none. Arguments and errors are
  those of `read_labels`.
  """
  value_YX = _values(path, data, shape, _WIDE, "grey values of 16 bits")
  metres_YX = value_YX.astype(np.float32) / np.float32(depths.units_per_metre)
  is_far_YX = metres_YX >= depths.max_metres
  is_none_YX = (metres_YX <= depths.min_metres) | is_far_YX
  return np.where(is_none_YX, np.float32(0), metres_YX)


def nearest(array_YX: np.ndarray, height: int, width: int) -> np.ndarray:
  """Return a map at another size, each pixel that of the nearest centre.

  It is Pillow's NEAREST, of arrays of any type.

  >>> nearest(np.array([[1, 2, 3, 4]]), 1, 2)
  array([[2, 4]])
  """
  rows, columns = (
    ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
    for new, old in zip((height, width), array_YX.shape, strict=True)
  )
  return array_YX[rows[:, None], columns]


def bilinear(num_out: int, num_in: int) -> np.ndarray:
  """Return the weights of linear interpolation: float32 [num_out, num_in].

  Centres of pixels are half a pixel from the edge, and places beyond the
  outermost centres have their values, as PyTorch's interpolate without
  align_corners.

  >>> bilinear(4, 2).tolist()
  [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
  """
  at = (np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5
  distance = np.abs(np.clip(at, 0, num_in - 1)[:, None] - np.arange(num_in))
  return np.maximum(1 - distance, 0).astype(np.float32)


def _values(
  path: str,
  data: bytes,
  shape: tuple[int, int],
  modes: tuple[str, ...],
  expected: str,
) -> np.ndarray:
  """Return the stored values of a picture, [Y, X]."""
  try:
    with Image.open(io.BytesIO(data)) as image:
      mode, kind = image.mode, image.format
      value_YX = np.asarray(image) if mode in modes else None
  except (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
  ) as error:
    raise ValueError(f"{path} is no intact picture: {error}") from error
  bits = data[_BITS] if data.startswith(_PNG) else 8
  is_stretched = data[_COLOURS] == _GREY and bits in (2, 4)
  if value_YX is None or kind != "PNG" or is_stretched:
    raise ValueError(
      f"{path} must be a PNG of {expected}; got {kind} of mode {mode} with"
      f" {bits} bits a channel"
    )
  if value_YX.shape != shape:
    (high, wide), (height, width) = value_YX.shape, shape
    raise ValueError(
      f"{path} must have the size of its image, {width} x {height} pixels; got"
      f" {wide} x {high}"
    )
  return value_YX


def _voids(classes: dense_set.Classes) -> str:
  below = f"below {classes.first}" if classes.first else ""
  listed = ", ".join(str(value) for value in classes.void)
  return " or ".join(x for x in (below, listed) if x) or "none"
