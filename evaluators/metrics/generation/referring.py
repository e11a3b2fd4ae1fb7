"""Boxes of referring expressions: right where the IoU is at least 0.5.

  accuracy   share of expressions whose box is right
  mean_iou   mean intersection over union

Boxes are continuous (left, top, right, bottom) in pixels of the image; code
that counts the last pixel of a box too has slightly larger overlaps. A box that
was found without area, or with NaN, is wrong and is counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals

KIND = "referring"
THRESHOLD = 0.5
ACCURACY, MEAN_IOU = NAMES = ("accuracy", "mean_iou")


def ious(found_N4: np.ndarray, truth_N4: np.ndarray) -> np.ndarray:
  """Return the IoU of each pair of boxes; 0 for a box that is none.

  >>> ious(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 4]]))
  array([0.5])
  """
  found_N4 = np.asarray(found_N4, np.float64)
  is_box_N = _is_box(found_N4)
  found_N4 = np.where(is_box_N[:, None], found_N4, 0)
  low_N2 = np.maximum(found_N4[:, :2], truth_N4[:, :2])
  high_N2 = np.minimum(found_N4[:, 2:], truth_N4[:, 2:])
  overlap_N = np.maximum(high_N2 - low_N2, 0).prod(axis=1)
  return overlap_N / (_area(found_N4) + _area(truth_N4) - overlap_N)


def record(
  found_N4: np.ndarray,
  truth_N4: np.ndarray,
  image_N: Sequence[int] | np.ndarray,
  split_N: Sequence[str] = (),
  *,
  baselines: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
  """Return figures of all expressions and of each split, for results.json.

  Chance is the figure of boxes found for another image: those of the image that
  comes next. Intervals are a bootstrap over images. With `baselines`, their
  figures are under "baselines" by their names.

  Args:
    found_N4: box that was found for each expression, in pixels.
    truth_N4: annotated box.
    image_N: integer that names the image of each expression.
    split_N: split of each expression, as "testA"; () for none.
    baselines: name -> box of each expression by a rule that sees no text.

  Raises:
    ValueError: lengths differ, an annotated box has no area or is not finite,
      or the expressions of all, or of a split, are of one image alone.
  """
  found_N4 = np.asarray(found_N4, np.float64)
  truth_N4 = np.asarray(truth_N4, np.float64)
  image_N, splits = np.asarray(image_N), np.asarray(split_N, dtype=str)
  shape = (len(image_N), 4)
  if {found_N4.shape, truth_N4.shape} != {shape} or len(splits) not in (
    0,
    len(image_N),
  ):
    raise ValueError(
      "expressions must have a box found, an annotated box, an image and, or"
      f" none of them, a split each; got {found_N4.shape}, {truth_N4.shape},"
      f" {image_N.shape} and {splits.shape}"
    )
  given = dict(baselines or {})
  for name, box_N4 in given.items():
    if np.shape(box_N4) != shape:
      raise ValueError(
        f"the baseline {name} must have a box of each expression, {shape}; got"
        f" {np.shape(box_N4)}"
      )
  if not (is_box_N := _is_box(truth_N4)).all():
    row = int(np.flatnonzero(~is_box_N)[0])
    raise ValueError(
      "annotated boxes must be (left, top, right, bottom) with left < right and"
      f" top < bottom; got {truth_N4[row].tolist()} in row {row}"
    )
  rows = {"": np.ones(len(image_N), bool)}
  rows |= {name: splits == name for name in np.unique(splits).tolist() if name}
  parts = {
    name: _part(
      *(found_N4[x], truth_N4[x], image_N[x], name),
      {other: box_N4[x] for other, box_N4 in given.items()},
    )
    for name, x in rows.items()
  }
  return {
    "kind": KIND,
    **parts.pop(""),
    **({"parts": parts} if parts else {}),
    "protocol": {
      "metric_version": "iou-1",
      "right": f"IoU >= {THRESHOLD} of continuous boxes",
      "chance_is": "boxes found for the next image",
    },
  }


def _part(
  found_N4: np.ndarray,
  truth_N4: np.ndarray,
  image_N: np.ndarray,
  name: str,
  baselines: Mapping[str, np.ndarray],
) -> dict[str, Any]:
  iou_N = ious(found_N4, truth_N4)
  other_N = ious(found_N4[_of_next_image(image_N, name)], truth_N4)
  value_N2 = _values(iou_N)
  expected = _values(other_N).mean(axis=0)
  bound_22 = intervals.clustered(value_N2, image_N)
  others = {
    other: _values(ious(box_N4, truth_N4)).mean(axis=0).tolist()
    for other, box_N4 in baselines.items()
  }
  return {
    "num_expressions": len(iou_N),
    "num_images": len(np.unique(image_N)),
    "num_broken": int((~_is_box(found_N4)).sum()),
    **dict(zip(NAMES, value_N2.mean(axis=0).tolist(), strict=True)),
    "chance": dict(zip(NAMES, expected.tolist(), strict=True)),
    "intervals": dict(zip(NAMES, bound_22.tolist(), strict=True)),
    **(
      {
        "baselines": {
          other: dict(zip(NAMES, values, strict=True))
          for other, values in others.items()
        }
      }
      if others
      else {}
    ),
  }


def _values(iou_N: np.ndarray) -> np.ndarray:
  """Return what NAMES are the means of: [N, 2]."""
  return np.stack([iou_N >= THRESHOLD, iou_N], axis=1)


def _of_next_image(image_N: np.ndarray, name: str) -> np.ndarray:
  """Return for each expression the row of one of the next image."""
  _, index_N, count_C = np.unique(
    image_N, return_inverse=True, return_counts=True
  )
  if len(count_C) < 2:
    raise ValueError(
      "expressions must be of at least 2 images, since chance is of another's"
      f" boxes; got {len(count_C)}{f' in the split {name}' if name else ''}"
    )
  order_N = np.argsort(index_N, kind="stable")
  first_C = np.cumsum(count_C) - count_C
  rank_N = np.empty(len(image_N), np.int64)
  rank_N[order_N] = np.arange(len(image_N)) - first_C[index_N[order_N]]
  next_N = (index_N + 1) % len(count_C)
  return order_N[first_C[next_N] + rank_N % count_C[next_N]]


def _is_box(box_N4: np.ndarray) -> np.ndarray:
  """Return whether each box is finite and has an area."""
  has_area_N2 = box_N4[:, :2] < box_N4[:, 2:]
  return np.asarray(np.hstack([np.isfinite(box_N4), has_area_N2]).all(axis=1))


def _area(box_N4: np.ndarray) -> np.ndarray:
  return (box_N4[:, 2:] - box_N4[:, :2]).prod(axis=1)
