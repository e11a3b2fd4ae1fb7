"""Resizing by TensorFlow's formulas, without TensorFlow: uint8 in, uint8 out.

They are those of tf.image.resize with antialias=False, after which big_vision
(pp/ops_image.py) cuts fractions off. "tf_bilinear" mixes the four pixels around
a position, however many lie between two positions, and is TensorFlow's to the
bit. "tf_area" is the mean over a pixel's area; TensorFlow adds in float32 and
this module in float64, so that a value may differ by one.
"""

import numpy as np

FILTERS = ("tf_bilinear", "tf_area")


def cut_resized(
  image: np.ndarray,
  shape: tuple[int, int],
  corner: tuple[int, int],
  *,
  size: int,
  interpolation: str,
) -> np.ndarray:
  """Return a square of an image resized to `shape`, uint8 [size, size, 3].

  Pixels outside the square are not computed.

  Args:
    image: uint8 [Y, X, 3].
    shape: height and width of the whole resized image.
    corner: top and left of the square in it.
    size: side of the square.
    interpolation: one of FILTERS.
  """
  along = {"tf_bilinear": _bilinear, "tf_area": _area}[interpolation]
  for axis in (1, 0):  # TensorFlow's order, which decides bilinear's last bits
    positions = np.arange(corner[axis], corner[axis] + size)
    moved = np.moveaxis(image, axis, 0)
    image = np.moveaxis(along(moved, shape[axis], positions), 0, axis)
  return np.clip(image, 0, 255).astype(np.uint8)


def _bilinear(
  rows: np.ndarray, length: int, positions: np.ndarray
) -> np.ndarray:
  """Return float32 rows at positions of 0 .. length - 1."""
  scale = np.float32(len(rows)) / np.float32(length)
  half = np.float32(0.5)
  at = (positions.astype(np.float32) + half) * scale - half
  below = np.floor(at)
  low = np.maximum(below.astype(np.int64), 0)
  high = np.minimum(np.ceil(at).astype(np.int64), len(rows) - 1)
  first = rows[low].astype(np.float32)
  return first + (rows[high] - first) * (at - below)[:, None, None]


def _area(rows: np.ndarray, length: int, positions: np.ndarray) -> np.ndarray:
  """Return float64 means of rows at positions of 0 .. length - 1."""
  scale = len(rows) / length
  edges = np.append(positions, positions[-1] + 1) * scale
  start = min(int(edges[0]), len(rows) - 1)
  rows = rows[start : int(np.ceil(edges[-1])) + 1].astype(np.float64)
  # The sum up to an edge, a fraction of the row that it cuts among it.
  sums = np.concatenate([np.zeros_like(rows[:1]), np.cumsum(rows, axis=0)])
  edges = np.minimum(edges - start, len(rows))
  whole = np.minimum(edges.astype(np.int64), len(rows) - 1)
  parts = (edges - whole)[:, None, None] * rows[whole]
  # One colour stays that colour, though fractions are cut off afterwards.
  return np.round(np.diff(sums[whole] + parts, axis=0) / scale, 6)
