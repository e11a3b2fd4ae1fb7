"""Boxes of a picture, and of the part of it that a model sees.

Boxes are (left, top, right, bottom) in pixels of the picture as it is decoded;
those of a decoder are shares of the part that the image protocol resizes to the
model's input. A protocol that crops sees no box outside of that part.
"""

import math
from collections.abc import Sequence

import numpy as np

from input_pipeline import model_inputs
from input_pipeline.images import naflex, picture

Box = tuple[float, float, float, float]


def seen_part(
  protocol: model_inputs.Protocol, shape: Sequence[int]
) -> picture.Box:
  """Return the part of a picture that a model sees, in the picture's pixels.

  NaFlex sees all of it. A square protocol's part ends at the picture's sides,
  over which rounding may carry it by less than a pixel of the model's input.
  """
  height, width = shape[:2]
  if isinstance(protocol, naflex.Protocol):
    return picture.Box(0.0, 0.0, float(width), float(height))
  return protocol.part(height, width)


def to_shares(
  protocol: model_inputs.Protocol,
  shape: Sequence[int],
  box: Sequence[float],
) -> np.ndarray:
  """Return a box in shares of the part that a model sees, float64 [4].

  A box that reaches beyond the part is cut off there.

  Args:
    protocol: image protocol of the model.
    shape: height and width of the picture in pixels; more is not read.
    box: (left, top, right, bottom) in pixels of the picture.

  Raises:
    ValueError: the box is not finite, has no area, is outside of the picture,
      or outside of the part that the protocol leaves.
  """
  sides = [float(side) for side in box]
  if (
    len(sides) != 4
    or not all(map(math.isfinite, sides))
    or not (sides[0] < sides[2] and sides[1] < sides[3])
  ):
    raise ValueError(
      "a box must be (left, top, right, bottom) in pixels with left < right and"
      f" top < bottom; got {tuple(box)}"
    )
  left, top, right, bottom = sides
  height, width = shape[:2]
  if min(right, bottom) <= 0 or left >= width or top >= height:
    raise ValueError(
      f"a box must be within its picture of {width} x {height} pixels; got"
      f" {tuple(box)}"
    )
  part = seen_part(protocol, shape)
  across, down = part.right - part.left, part.bottom - part.top
  share_4 = np.array(
    [
      (left - part.left) / across,
      (top - part.top) / down,
      (right - part.left) / across,
      (bottom - part.top) / down,
    ]
  ).clip(0.0, 1.0)
  if not (share_4[:2] < share_4[2:]).all():
    raise ValueError(
      f"the box {tuple(box)} lies outside of what the model sees of a picture"
      f" of {width} x {height} pixels: {model_inputs.describe(protocol)}, which"
      f" leaves ({', '.join(f'{side:g}' for side in part)})"
    )
  return share_4


def to_pixels(
  protocol: model_inputs.Protocol,
  shape: Sequence[int],
  share_4: np.ndarray,
) -> Box:
  """Return a box in pixels of the picture, cut off at its sides.

  Args:
    protocol: image protocol of the model.
    shape: height and width of the picture in pixels; more is not read.
    share_4: (left, top, right, bottom) in shares of the part that is seen.
  """
  part = seen_part(protocol, shape)
  across, down = part.right - part.left, part.bottom - part.top
  left, top, right, bottom = (float(side) for side in share_4)
  height, width = shape[:2]
  return (
    min(max(part.left + left * across, 0.0), float(width)),
    min(max(part.top + top * down, 0.0), float(height)),
    min(max(part.left + right * across, 0.0), float(width)),
    min(max(part.top + bottom * down, 0.0), float(height)),
  )
