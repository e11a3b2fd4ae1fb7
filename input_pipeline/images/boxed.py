"""Boxes that move with their picture: resizing, cropping, mirroring.

A box is (left, top, right, bottom) in pixels of the picture, as in
models/detecting/boxes.py. Each function on boxes is that of an operation on
pixels; `place` does both, for a detector's pictures of one size, and `follow`
is that of the moves of an augmentation.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from input_pipeline import faults
from input_pipeline.images import picture

# Level of pixels outside of the picture: the middle.
FILL = 127


@dataclasses.dataclass(frozen=True)
class Placed:
  """A picture in a frame of a fixed size.

  Attributes:
    pixels: uint8 [Y, X, 3].
    box_M4: float32 boxes in the frame that are still visible.
    kept_M: indices of these boxes among those of the picture.
    factor: (horizontal, vertical) pixels of the frame for one of the picture.
  """

  pixels: np.ndarray
  box_M4: np.ndarray
  kept_M: np.ndarray
  factor: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Move:
  """Move of an image's points into a frame; what leaves the frame is lost.

  Attributes:
    matrix: float64 [3, 3], from a point (x, y, 1) of the image to one of the
      frame, both in pixels from the upper left corner.
    height: height of the frame in pixels.
    width: width of the frame.
  """

  matrix: np.ndarray
  height: int
  width: int

  @classmethod
  def of_part(cls, part: picture.Box, height: int, width: int) -> "Move":
    """Return the move of a part of an image that is resized to a frame."""
    across = width / (part.right - part.left)
    down = height / (part.bottom - part.top)
    matrix = np.array(
      [[across, 0, -part.left * across], [0, down, -part.top * down], [0, 0, 1]]
    )
    return cls(matrix, height, width)

  def mirrored(self) -> "Move":
    """Return the move after which left and right change places."""
    mirror = np.array([[-1.0, 0, self.width], [0, 1, 0], [0, 0, 1]])
    return Move(mirror @ self.matrix, self.height, self.width)

  def upside_down(self) -> "Move":
    """Return the move after which top and bottom change places."""
    mirror = np.array([[1.0, 0, 0], [0, -1, self.height], [0, 0, 1]])
    return Move(mirror @ self.matrix, self.height, self.width)

  def turned(self, num_quarters: int) -> "Move":
    """Return the move after quarter turns against the clock (np.rot90)."""
    move = self
    for _ in range(num_quarters % 4):
      turn = np.array([[0.0, 1, 0], [-1, 0, move.width], [0, 0, 1]])
      move = Move(turn @ move.matrix, move.width, move.height)
    return move


def check(box_M4: np.ndarray, height: int, width: int) -> np.ndarray:
  """Return boxes cut off at the sides of their picture.

  Args:
    box_M4: boxes in pixels of the picture.
    height: height of the picture in pixels.
    width: width of the picture.

  Raises:
    faults.ExampleError: "box_broken": a number is not finite, a box has no
      area, or is outside of the picture.
  """
  for index, box_4 in enumerate(box_M4):
    if text := problem(box_4, height, width):
      raise faults.ExampleError("box_broken", f"box {index} {text}")
  return _cut(box_M4, height, width)


def problem(box_4: np.ndarray, height: int, width: int) -> str:
  """Return what a box of a picture must be and is not; "" for a sound one.

  Args:
    box_4: box in pixels of the picture.
    height: height of the picture in pixels.
    width: width of the picture.
  """
  left, top, right, bottom = box_4
  if not np.isfinite(box_4).all():
    expected = "must have finite numbers"
  elif right <= left or bottom <= top:
    expected = "must have some area"
  elif right <= 0 or bottom <= 0 or left >= width or top >= height:
    expected = f"must be in the picture of {width} x {height} pixels"
  else:
    return ""
  return (
    f"(left, top, right, bottom) {expected}; got {tuple(map(float, box_4))}"
  )


def follow(
  box_M4: np.ndarray, moves: Sequence[Move]
) -> tuple[np.ndarray, np.ndarray]:
  """Return boxes after moves of their picture, and their visible shares.

  A box that is turned by no multiple of 90 degrees, or bent, becomes the box
  around its four corners, which is larger.

  Args:
    box_M4: boxes of the picture in pixels, each of some area.
    moves: moves in their order; boxes are cut off at the frame of each.

  Returns:
    float64 [M, 4], boxes in pixels of the last frame, and float64 [M], the
    share of each box's area that no frame cut off; 0 for a box that is lost,
    whose sides mean nothing.

  >>> box = np.array([[0.0, 0.0, 4.0, 2.0]])
  >>> follow(box, [Move.of_part(picture.Box(2, 0, 6, 4), 8, 8)])
  (array([[0., 0., 4., 4.]]), array([0.5]))
  """
  box_M4 = np.asarray(box_M4, np.float64)
  share_M = np.ones(len(box_M4))
  for move in moves:
    left, top, right, bottom = box_M4.T
    corner_34M = np.stack(
      [
        np.stack([left, right, right, left]),
        np.stack([top, top, bottom, bottom]),
        np.ones((4, len(box_M4))),
      ]
    )
    x_4M, y_4M, w_4M = np.tensordot(move.matrix, corner_34M, axes=1)
    x_4M, y_4M = x_4M / w_4M, y_4M / w_4M
    moved_M4 = np.stack(
      [x_4M.min(0), y_4M.min(0), x_4M.max(0), y_4M.max(0)], axis=1
    )
    box_M4 = _cut(moved_M4, move.height, move.width)
    share_M *= _area(box_M4) / np.maximum(_area(moved_M4), 1e-9)
  return box_M4, share_M


def resized(box_M4: np.ndarray, factor: tuple[float, float]) -> np.ndarray:
  """Return boxes of a picture resized by (horizontal, vertical) factors."""
  return box_M4 * np.array([*factor, *factor])


def cropped(
  box_M4: np.ndarray,
  corner: tuple[float, float],
  height: float,
  width: float,
  *,
  least_visible: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Return boxes of a part of a picture, and which are there: bool [M].

  Args:
    box_M4: boxes of the picture, each of some area.
    corner: left and top of the part.
    height: height of the part.
    width: width of the part.
    least_visible: share of a box's area that must be in the part.

  >>> box = np.array([[0.0, 0.0, 4.0, 4.0], [6.0, 0.0, 10.0, 4.0]])
  >>> cropped(box, (2, 0), 8, 5, least_visible=0.5)[1]
  array([ True, False])
  """
  moved_M4 = box_M4 - np.array([*corner, *corner])
  cut_M4 = _cut(moved_M4, height, width)
  share_M = _area(cut_M4) / np.maximum(_area(moved_M4), 1e-9)
  return cut_M4, (share_M >= least_visible) & (share_M > 0)


def mirrored(box_M4: np.ndarray, width: float) -> np.ndarray:
  """Return boxes of a picture whose left and right changed places."""
  left, top, right, bottom = box_M4.T
  return np.stack([width - right, top, width - left, bottom], axis=1)


def place(
  image: picture.Picture,
  box_M4: np.ndarray,
  height: int,
  width: int,
  rng: np.random.Generator | None,
  *,
  scale: tuple[float, float],
  flip_probability: float,
  least_visible: float,
) -> Placed:
  """Return a picture in a frame, resized in its own shape, with its boxes.

  It lies at the frame's left and top. A scale of 1 is the largest at which it
  fits; above, a part of it is cut out at random.

  Args:
    image: picture of any size.
    box_M4: its boxes, accepted by `check`.
    height: height of the frame in pixels.
    width: width of the frame.
    rng: generator of four numbers: scale, left, top, mirror. None resizes to
      fit, and nothing is random.
    scale: lowest and highest scale.
    flip_probability: probability that left and right change places.
    least_visible: share of a box that must be in the frame, else it is left
      out.

  Raises:
    faults.ExampleError: a broken image.
  """
  draw_4 = np.array([1.0, 0, 0, 1.0]) if rng is None else rng.random(4)
  low, high = scale if rng is not None else (1.0, 1.0)
  fit = min(height / image.height, width / image.width)
  fit *= low + (high - low) * draw_4[0]
  tall = max(round(image.height * fit), 1)
  wide = max(round(image.width * fit), 1)
  factor = (wide / image.width, tall / image.height)
  seen_tall, seen_wide = min(tall, height), min(wide, width)
  left = int(draw_4[1] * (wide - seen_wide + 1))
  top = int(draw_4[2] * (tall - seen_tall + 1))
  part = picture.Box(
    left / factor[0],
    top / factor[1],
    min((left + seen_wide) / factor[0], image.width),
    min((top + seen_tall) / factor[1], image.height),
  )
  pixels = np.full((height, width, 3), FILL, np.uint8)
  seen = image.resized(part, seen_tall, seen_wide, "bilinear")
  box_M4, is_kept_M = cropped(
    resized(box_M4, factor),
    (left, top),
    seen_tall,
    seen_wide,
    least_visible=least_visible,
  )
  if draw_4[3] < flip_probability:
    seen, box_M4 = seen[:, ::-1], mirrored(box_M4, seen_wide)
  pixels[:seen_tall, :seen_wide] = seen
  kept_M = is_kept_M.nonzero()[0]
  return Placed(pixels, box_M4[kept_M].astype(np.float32), kept_M, factor)


def _cut(box_M4: np.ndarray, height: float, width: float) -> np.ndarray:
  return np.clip(box_M4, 0, [width, height, width, height])


def _area(box_M4: np.ndarray) -> np.ndarray:
  side_M2 = np.maximum(box_M4[:, 2:] - box_M4[:, :2], 0)
  return side_M2[:, 0] * side_M2[:, 1]
