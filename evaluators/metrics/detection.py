"""Average precision of boxes, COCO's, with intervals over images.

  AP     mean over IoU of 0.50, 0.55, ... 0.95 and over classes
  AP50   at an IoU of 0.5; AP75 at 0.75
  class_agnostic_AP50   all boxes as of one class: whether objects are found

Figures are pycocotools'. It matches boxes of one image at a time, so that a
bootstrap over images needs no second matching: a resample counts the matches
of an image as often as the image was drawn. Its figures equal pycocotools' own
on the drawn images.

Shape letters: N images, M boxes of an image, D boxes found of a class in all
images, R resamples, Q recalls.
"""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals, resampling

KIND = "detection"
METRIC_VERSION = "coco-1"
# Most boxes of an image that count, best first: COCO's.
MAX_BOXES = 100
FIGURES = ("AP", "AP50", "AP75")
AGNOSTIC = "class_agnostic_"
_EPSILON = float(np.spacing(1))  # pycocotools' of a division by no boxes
_RECALLS = np.linspace(0, 1, 101)
_IOUS = np.linspace(0.5, 0.95, 10)


@dataclasses.dataclass(frozen=True)
class Boxes:
  """Boxes of an image, annotated or found.

  Attributes:
    box_M4: (left, top, right, bottom) in pixels of the image.
    label_M: classes from 0.
    score_M: scores of boxes that were found; None for annotated ones.
    is_crowd_M: bool, annotated boxes around many objects: what is found in them
      counts neither as right nor as wrong. None for none.
  """

  box_M4: np.ndarray
  label_M: np.ndarray
  score_M: np.ndarray | None = None
  is_crowd_M: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Matches:
  """Boxes of one class over all images, best first.

  Attributes:
    image_D: image of each box that was found.
    right_TD: bool, whether it is right at each of the IoUs.
    counts_TD: bool, whether it is right or wrong: not of a crowd.
    num_N: annotated boxes of each image, without crowds.
  """

  image_D: np.ndarray
  right_TD: np.ndarray
  counts_TD: np.ndarray
  num_N: np.ndarray


def check_installed() -> None:
  """Raise ModuleNotFoundError, naming the file, without pycocotools."""
  _pycocotools()


def record(
  truth: Sequence[Boxes],
  found: Sequence[Boxes],
  num_classes: int,
  *,
  num_resamples: int = intervals.NUM_RESAMPLES,
) -> dict[str, Any]:
  """Return figures, bootstrap intervals over images and chance.

  Chance is 0: boxes drawn at random have next to no average precision.

  Args:
    truth: annotated boxes of each image.
    found: boxes that were found in it, in the same order.
    num_classes: classes; with 1 all figures are class-agnostic.
    num_resamples: resamples of the bootstrap.

  Raises:
    ValueError: images differ in number, or none has an annotated box.
    ModuleNotFoundError: pycocotools is not installed.
  """
  if len(truth) != len(found):
    raise ValueError(
      f"boxes found must be those of the {len(truth)} annotated images; got"
      f" {len(found)}"
    )
  num_boxes = sum(map(_num_counted, truth))
  if not num_boxes:
    raise ValueError(
      f"average precision needs an annotated box; got none in {len(truth)}"
      " images"
    )
  kinds = {"": True, AGNOSTIC: False} if num_classes > 1 else {"": False}
  values: dict[str, float] = {}
  bounds: dict[str, list[float]] = {}
  for prefix, by_class in kinds.items():
    whole, matches = _evaluated(truth, found, num_classes, by_class)
    names = ("AP50",) if prefix else FIGURES
    drawn = _bootstrap(matches, len(truth), num_resamples)
    for name in names:
      values[f"{prefix}{name}"] = whole[name]
      bounds[f"{prefix}{name}"] = _bounds(drawn[name], whole[name], len(truth))
  if num_classes == 1:
    values[f"{AGNOSTIC}AP50"] = values["AP50"]
    bounds[f"{AGNOSTIC}AP50"] = bounds["AP50"]
  return {
    "kind": KIND,
    "num_images": len(truth),
    "num_boxes": num_boxes,
    "num_classes": num_classes,
    **values,
    "chance": dict.fromkeys(values, 0.0),
    "intervals": bounds,
  }


def protocol() -> dict[str, object]:
  """Return the definitions of the figures."""
  return {
    "metric_version": METRIC_VERSION,
    "similarity": "IoU of boxes, pycocotools",
    "max_boxes": MAX_BOXES,
  }


def _num_counted(boxes: Boxes) -> int:
  """Return the number of an image's annotated boxes without crowds."""
  crowds = 0 if boxes.is_crowd_M is None else int(boxes.is_crowd_M.sum())
  return len(boxes.box_M4) - crowds


def _bounds(drawn_R: np.ndarray, whole: float, num_images: int) -> list[float]:
  """Return the interval of a figure by its resamples."""
  if num_images == 1 or not len(drawn_R):
    return [0.0, 1.0]  # one image says nothing about others
  moved = resampling.moved_percentiles(
    drawn_R, whole, num_images - 1, intervals.LEVEL
  )
  return moved.tolist()


def _pycocotools() -> tuple[Any, Any]:
  """Return pycocotools' classes of a data set and of its evaluation."""
  try:
    from pycocotools import coco, cocoeval
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "average precision of boxes needs pycocotools: pip install -r "
      "requirements-evaluation.txt",
      name=error.name,
    ) from error
  return coco.COCO, cocoeval.COCOeval


def _evaluated(
  truth: Sequence[Boxes],
  found: Sequence[Boxes],
  num_classes: int,
  by_class: bool,
) -> tuple[dict[str, float], list[_Matches]]:
  """Return pycocotools' figures, and the matches that it made."""
  make_data, evaluation = _pycocotools()
  annotations = [
    {"image_id": n + 1, "category_id": int(label) + 1, "iscrowd": crowd}
    | _geometry(box_4)
    for n, boxes in enumerate(truth)
    for box_4, label, crowd in zip(
      *(boxes.box_M4, boxes.label_M, _crowds(boxes)), strict=True
    )
  ]
  guesses = [
    {"image_id": n + 1, "category_id": int(label) + 1, "score": float(score)}
    | _geometry(box_4)
    for n, boxes in enumerate(found)
    for box_4, label, score in zip(
      *(boxes.box_M4, boxes.label_M, _scores(boxes)), strict=True
    )
  ]
  about = {
    "images": [{"id": n + 1} for n in range(len(truth))],
    "categories": [{"id": label + 1} for label in range(num_classes)],
  }
  # It prints what it does.
  with contextlib.redirect_stdout(io.StringIO()):
    sides = []
    for boxes in (annotations, guesses):
      side = make_data()
      side.dataset = about | {
        "annotations": [box | {"id": i + 1} for i, box in enumerate(boxes)]
      }
      side.createIndex()
      sides.append(side)
    judged = evaluation(*sides, "bbox")
    judged.params.useCats = int(by_class)
    judged.params.areaRng, judged.params.areaRngLbl = [[0, 1e10]], ["all"]
    judged.params.maxDets = [MAX_BOXES]
    judged.evaluate()
    judged.accumulate()
  precision_TQK = judged.eval["precision"][..., 0, 0]
  num_kinds = num_classes if by_class else 1
  per_kind = [
    judged.evalImgs[k * len(truth) : (k + 1) * len(truth)]
    for k in range(num_kinds)
  ]
  return _figures(precision_TQK), [_matches(one) for one in per_kind]


def _geometry(box_4: np.ndarray) -> dict[str, Any]:
  """Return a box as COCO has it."""
  left, top, right, bottom = map(float, box_4)
  width, height = right - left, bottom - top
  return {"bbox": [left, top, width, height], "area": width * height}


def _crowds(boxes: Boxes) -> list[int]:
  if boxes.is_crowd_M is None:
    return [0] * len(boxes.box_M4)
  return [int(is_crowd) for is_crowd in boxes.is_crowd_M]


def _scores(boxes: Boxes) -> np.ndarray:
  if boxes.score_M is None:
    raise ValueError("boxes that were found must have score_M; got None")
  return boxes.score_M


def _figures(precision_TQK: np.ndarray) -> dict[str, float]:
  """Return FIGURES; precisions of a class without a box are -1."""

  def mean(precision: np.ndarray) -> float:
    return float(precision[precision > -1].mean())

  return {
    "AP": mean(precision_TQK),
    "AP50": mean(precision_TQK[0]),
    "AP75": mean(precision_TQK[5]),
  }


def _matches(per_image: Sequence[dict[str, Any] | None]) -> _Matches:
  """Return the matches of a class; None is an image without any box of it."""
  num_N = np.zeros(len(per_image), np.int64)
  image, score, right, counts = [], [], [], []
  for n, one in enumerate(per_image):
    if one is None:
      continue
    num_N[n] = int((np.asarray(one["gtIgnore"]) == 0).sum())
    scores = np.asarray(one["dtScores"], np.float64)
    is_ignored_TM = np.asarray(one["dtIgnore"], bool)
    image.append(np.full(len(scores), n))
    score.append(scores)
    right.append((np.asarray(one["dtMatches"]) > 0) & ~is_ignored_TM)
    counts.append(~is_ignored_TM)
  if not image:
    none_TD = np.zeros((len(_IOUS), 0), bool)
    return _Matches(np.zeros(0, np.int64), none_TD, none_TD, num_N)
  order_D = np.argsort(-np.concatenate(score), kind="mergesort")
  return _Matches(
    np.concatenate(image)[order_D],
    np.concatenate(right, axis=1)[:, order_D],
    np.concatenate(counts, axis=1)[:, order_D],
    num_N,
  )


def _bootstrap(
  matches: Sequence[_Matches], num_images: int, num_resamples: int
) -> dict[str, np.ndarray]:
  """Return FIGURES of resamples that have a box, [R] each."""
  every: dict[str, list[np.ndarray]] = {name: [] for name in FIGURES}
  ones_N = np.ones(num_images, np.int64)
  # The seed is of the matches, so that an interval is a function of the data.
  facts = np.array([[len(m.image_D), m.right_TD.sum()] for m in matches])
  width = max(len(m.image_D) for m in matches)
  for weight_RN in resampling.type_counts(ones_N, facts, num_resamples, width):
    ap_KTR = np.stack([_weighted(one, weight_RN) for one in matches])
    has_R = ~np.isnan(ap_KTR).all(axis=(0, 1))
    ap_KTR = ap_KTR[..., has_R]
    every["AP"].append(np.nanmean(ap_KTR, axis=(0, 1)))
    every["AP50"].append(np.nanmean(ap_KTR[:, 0], axis=0))
    every["AP75"].append(np.nanmean(ap_KTR[:, 5], axis=0))
  return {name: np.concatenate(parts) for name, parts in every.items()}


def _weighted(matches: _Matches, weight_RN: np.ndarray) -> np.ndarray:
  """Return average precisions with weights of images: [T, R].

  They are NaN where no image of a weight has an annotated box.
  """
  num_R = weight_RN @ matches.num_N
  weight_RD = weight_RN[:, matches.image_D]
  ap_TR = np.zeros((len(_IOUS), len(weight_RN)))
  for t, (right_D, counts_D) in enumerate(
    zip(matches.right_TD, matches.counts_TD, strict=True)
  ):
    # Precision is highest, and recall rises, at right boxes alone.
    at = right_D.nonzero()[0]
    if not len(at):
      continue
    right_RD = np.cumsum(weight_RD[:, at], axis=1)
    all_RD = np.cumsum(weight_RD * counts_D, axis=1)[:, at]
    precision_RD = right_RD / (all_RD + _EPSILON)
    precision_RD = np.maximum.accumulate(precision_RD[:, ::-1], axis=1)[:, ::-1]
    for r, num in enumerate(num_R):
      if num:
        recall_D = right_RD[r] / num
        at_Q = np.searchsorted(recall_D, _RECALLS, side="left")
        reached = at_Q[at_Q < len(at)]
        ap_TR[t, r] = precision_RD[r, reached].sum() / len(_RECALLS)
  return np.where(num_R > 0, ap_TR, np.nan)
