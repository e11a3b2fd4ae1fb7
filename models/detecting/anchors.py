"""Anchors: one square at each position of each level of a pyramid.

Source: ATSS (arXiv 1912.02424) in Dynamic Head's released code: levels p3 to p7
with sides of 64 to 1024 pixels, 8 strides each, at the centre of a position's
cell.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Levels of a pyramid, by the binary logarithm of their strides.
LEVELS = (3, 4, 5, 6, 7)
STRIDES = tuple(2**level for level in LEVELS)


@dataclasses.dataclass(frozen=True)
class Anchors:
  """Anchors of all levels, one level after the other, row by row.

  Attributes:
    box_A4: float32 (left, top, right, bottom) in pixels.
    sizes: number of anchors of each level.
  """

  box_A4: np.ndarray
  sizes: tuple[int, ...]

  @property
  def centre_A2(self) -> np.ndarray:
    """Centres (x, y), float32 [A, 2]."""
    return (self.box_A4[:, :2] + self.box_A4[:, 2:]) / 2


def grids(height: int, width: int) -> list[tuple[int, int]]:
  """Return rows and columns of each level for pictures of a size.

  >>> grids(128, 96)
  [(16, 12), (8, 6), (4, 3), (2, 2), (1, 1)]
  """
  return [(-(-height // s), -(-width // s)) for s in STRIDES]


def make(height: int, width: int, scale: float) -> Anchors:
  """Return the anchors of pictures of a size.

  Args:
    height: height of the pictures in pixels.
    width: width of the pictures in pixels.
    scale: side of an anchor in strides of its level.

  >>> anchors = make(64, 64, 8.0)
  >>> anchors.sizes, anchors.box_A4[0].tolist()
  ((64, 16, 4, 1, 1), [-28.0, -28.0, 36.0, 36.0])
  """
  shapes = grids(height, width)
  boxes = [
    _level(*shape, stride, scale)
    for shape, stride in zip(shapes, STRIDES, strict=True)
  ]
  return Anchors(np.concatenate(boxes), tuple(map(len, boxes)))


def starts(sizes: Sequence[int]) -> list[int]:
  """Return the index of each level's first anchor."""
  return [sum(sizes[:i]) for i in range(len(sizes))]


def _level(rows: int, columns: int, stride: int, scale: float) -> np.ndarray:
  """Return the anchors of a level, [rows * columns, 4]."""
  y, x = np.mgrid[:rows, :columns].reshape(2, -1) * stride + stride / 2
  half = scale * stride / 2
  box_4A = np.stack([x - half, y - half, x + half, y + half])
  return box_4A.T.astype(np.float32)
