"""Figures of dense predictions: classes of pixels, and depths.

  mIoU            mean over classes of the intersection over the union, both
                  summed over all images (the PASCAL challenge's); a class that
                  is neither annotated nor predicted in any image is left out
  pixel_accuracy  share of annotated pixels whose class is right
  rmse            root of the mean squared error in metres, of each image; the
                  mean over images. So are abs_rel, the mean of |error| / depth,
                  and delta1, the share of pixels with a ratio below 1.25
  rmse_of_pixels  root of the mean squared error over the pixels of all images

Void pixels, and those without a measurement, count nowhere. Intervals are a
bootstrap over images.

Shape letters: I images, A classes, R resamples.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals, resampling

SEGMENTATION, DEPTH = KINDS = ("segmentation", "depth")
# Kind of a record -> key of the number of its images.
SIZES = {SEGMENTATION: "num_images", DEPTH: "num_images"}
MIOU, ACCURACY = "mIoU", "pixel_accuracy"
RMSE, ABS_REL, DELTA1 = OF_IMAGES = ("rmse", "abs_rel", "delta1")
RMSE_OF_PIXELS = "rmse_of_pixels"
METRIC_VERSION = "dense-1"
# Largest ratio of two depths that are near each other.
_NEAR = 1.25


@dataclasses.dataclass(frozen=True)
class Counts:
  """Pixels of each image by class: int64 [I, A].

  Attributes:
    right_IA: pixels of a class that are predicted so.
    truth_IA: annotated pixels.
    predicted_IA: predicted pixels, of those that are annotated with any class.
  """

  right_IA: np.ndarray
  truth_IA: np.ndarray
  predicted_IA: np.ndarray


def count(
  truth_YX: np.ndarray, predicted_YX: np.ndarray, num_classes: int
) -> np.ndarray:
  """Return the confusion of an image: int64 [A, A], rows by annotated class.

  >>> count(np.array([[0, 1, -1]]), np.array([[1, 1, 0]]), 2).tolist()
  [[0, 1], [0, 1]]
  """
  is_in_YX = truth_YX >= 0
  pair_P = truth_YX[is_in_YX].astype(np.int64) * num_classes
  pair_P += predicted_YX[is_in_YX]
  flat = np.bincount(pair_P, minlength=num_classes**2)
  return flat.reshape(num_classes, num_classes)


def counts(confusion_IAA: Sequence[np.ndarray]) -> Counts:
  """Return the counts of images by their confusions."""
  return Counts(
    np.stack([x.diagonal() for x in confusion_IAA]),
    np.stack([x.sum(axis=1) for x in confusion_IAA]),
    np.stack([x.sum(axis=0) for x in confusion_IAA]),
  )


def ious(right_xA: Any, truth_xA: Any, predicted_xA: Any) -> np.ndarray:
  """Return the IoU of each class, [..., A]; NaN for one that is nowhere.

  >>> ious([1, 0], [2, 0], [1, 0])
  array([0.5, nan])
  """
  right_xA = np.asarray(right_xA, np.float64)
  union_xA = np.add(truth_xA, predicted_xA) - right_xA
  is_there_xA = union_xA > 0
  return np.where(is_there_xA, right_xA / np.maximum(union_xA, 1), np.nan)


def segmentation(
  counted: Counts, names: Sequence[str], most_frequent: int
) -> dict[str, Any]:
  """Return the figures of masks, for results.json.

  Args:
    counted: pixels of the test images.
    names: names of the classes.
    most_frequent: class of the most pixels of the training images, which
      chance predicts everywhere.

  Raises:
    ValueError: no pixel has a class.
  """
  truth_IA = counted.truth_IA
  mean_iou(counted)
  sums = _summed(counted)
  everywhere_IA = np.zeros_like(truth_IA)
  everywhere_IA[:, most_frequent] = truth_IA.sum(axis=1)
  only_IA = np.zeros_like(truth_IA)
  only_IA[:, most_frequent] = truth_IA[:, most_frequent]
  chance_2 = _figures(*_summed(Counts(only_IA, truth_IA, everywhere_IA)))
  bound_22 = _bounds(counted)
  named = (MIOU, ACCURACY)
  iou_A = ious(*sums)
  return {
    "kind": SEGMENTATION,
    "num_images": len(truth_IA),
    "num_classes": len(names),
    "num_classes_scored": int(np.isfinite(iou_A).sum()),
    **dict(zip(named, _figures(*sums).tolist(), strict=True)),
    "chance": dict(zip(named, chance_2.tolist(), strict=True)),
    "intervals": dict(zip(named, bound_22.tolist(), strict=True)),
    "per_class": [
      {
        "name": name,
        "iou": None if np.isnan(iou) else float(iou),
        "pixels": int(truth),
        "predicted": int(predicted),
      }
      for name, iou, truth, predicted in zip(
        *(names, iou_A, sums[1], sums[2]), strict=True
      )
    ],
  }


def mean_iou(counted: Counts) -> float:
  """Return the mIoU of images; ValueError where no pixel has a class."""
  if not counted.truth_IA.sum():
    raise ValueError("masks must have a pixel of a class; got none")
  return float(_figures(*_summed(counted))[0])


def mean_rmse(error_I4: np.ndarray) -> float:
  """Return the mean RMSE of the images that have a measured pixel.

  Raises:
    ValueError: there is no such image.
  """
  is_in_I = error_I4[:, 0] > 0
  if not is_in_I.any():
    raise ValueError("maps must have a measured pixel; got none")
  return float(_of_images(error_I4[is_in_I])[:, 0].mean())


def _summed(counted: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  parts = counted.right_IA, counted.truth_IA, counted.predicted_IA
  right_A, truth_A, predicted_A = (x.sum(axis=0) for x in parts)
  return right_A, truth_A, predicted_A


def _figures(right_xA: Any, truth_xA: Any, predicted_xA: Any) -> np.ndarray:
  """Return mIoU and accuracy of pixels: [..., 2]."""
  iou_xA = ious(right_xA, truth_xA, predicted_xA)
  # No warning for a resample without a class: its mean is NaN.
  num_x = np.isfinite(iou_xA).sum(axis=-1)
  mean_x = np.nansum(iou_xA, axis=-1) / np.where(num_x, num_x, np.nan)
  total_x = np.sum(truth_xA, axis=-1)
  share_x = np.sum(right_xA, axis=-1) / np.where(total_x, total_x, np.nan)
  return np.stack([mean_x, share_x], axis=-1)


def _bounds(counted: Counts) -> np.ndarray:
  """Return the intervals of both figures, [2, 2]: a bootstrap over images."""
  parts = (counted.right_IA, counted.truth_IA, counted.predicted_IA)
  num_images = len(counted.truth_IA)
  if num_images == 1:
    return np.array([[0.0, 1.0]] * 2)
  rng = resampling.generator(*parts)
  replicas = []
  for num in resampling.chunks(intervals.NUM_RESAMPLES, num_images):
    share_I = np.full(num_images, 1 / num_images)
    weight_RI = rng.multinomial(num_images, share_I, size=num)
    replicas.append(_figures(*(weight_RI @ x for x in parts)))
  replica_R2 = np.concatenate(replicas)
  # A resample of images without a class has no figure.
  replica_R2 = replica_R2[np.isfinite(replica_R2).all(axis=1)]
  return resampling.percentiles(replica_R2, num_images - 1, intervals.LEVEL)


def errors(truth_YX: np.ndarray, predicted_YX: np.ndarray) -> np.ndarray:
  """Return sums over the measured pixels of an image: float64 [4].

  They are the number of pixels, and the sums of squared errors, of |error| /
  depth, and of pixels near the truth.

  Args:
    truth_YX: metres, 0 for none.
    predicted_YX: metres, above 0.
  """
  is_in_YX = truth_YX > 0
  truth_P = truth_YX[is_in_YX].astype(np.float64)
  found_P = predicted_YX[is_in_YX].astype(np.float64)
  off_P = found_P - truth_P
  ratio_P = np.maximum(found_P / truth_P, truth_P / found_P)
  return np.array(
    [
      len(truth_P),
      np.sum(off_P**2),
      np.sum(np.abs(off_P) / truth_P),
      np.sum(ratio_P < _NEAR),
    ]
  )


def depth(error_I4: np.ndarray, constant_I4: np.ndarray) -> dict[str, Any]:
  """Return the figures of depths, for results.json.

  Args:
    error_I4: `errors` of each test image.
    constant_I4: those of the mean depth of the training pixels, as chance.

  Raises:
    ValueError: no image has a measured pixel.
  """
  is_in_I = error_I4[:, 0] > 0
  mean_rmse(error_I4)
  error_I4, constant_I4 = error_I4[is_in_I], constant_I4[is_in_I]
  value_I3, chance_I3 = _of_images(error_I4), _of_images(constant_I4)
  bound_32 = intervals.clustered(value_I3, is_share=(False, False, True))
  return {
    "kind": DEPTH,
    "num_images": len(error_I4),
    "num_empty": int((~is_in_I).sum()),
    **dict(zip(OF_IMAGES, value_I3.mean(axis=0).tolist(), strict=True)),
    RMSE_OF_PIXELS: _of_pixels(error_I4),
    "chance": {
      **dict(zip(OF_IMAGES, chance_I3.mean(axis=0).tolist(), strict=True)),
      RMSE_OF_PIXELS: _of_pixels(constant_I4),
    },
    "intervals": {
      **dict(zip(OF_IMAGES, bound_32.tolist(), strict=True)),
      RMSE_OF_PIXELS: _pixel_bounds(error_I4),
    },
  }


def _of_images(error_I4: np.ndarray) -> np.ndarray:
  """Return rmse, abs_rel and delta1 of each image: [I, 3]."""
  mean_I3 = error_I4[:, 1:] / error_I4[:, :1]
  mean_I3[:, 0] **= 0.5
  return mean_I3


def _of_pixels(error_I4: np.ndarray) -> float:
  return float(np.sqrt(error_I4[:, 1].sum() / error_I4[:, 0].sum()))


def _pixel_bounds(error_I4: np.ndarray) -> list[float]:
  """Return the interval of rmse_of_pixels: a bootstrap over images."""
  num_images = len(error_I4)
  if num_images == 1:
    return [_of_pixels(error_I4)] * 2
  part_I2 = error_I4[:, :2]
  rng = resampling.generator(part_I2)
  replicas = []
  for num in resampling.chunks(intervals.NUM_RESAMPLES, num_images):
    share_I = np.full(num_images, 1 / num_images)
    sum_R2 = rng.multinomial(num_images, share_I, size=num) @ part_I2
    replicas.append(np.sqrt(sum_R2[:, 1] / sum_R2[:, 0]))
  replica_R1 = np.concatenate(replicas)[:, None]
  return resampling.percentiles(replica_R1, num_images - 1, intervals.LEVEL)[
    0
  ].tolist()
