"""Average precision: pycocotools' figures, by hand, and its bootstrap."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools import coco, cocoeval

from evaluators.metrics import detection

RNG = np.random.default_rng(0)


def _boxes(num: int) -> np.ndarray:
  low = RNG.uniform(0, 60, (num, 2))
  return np.hstack([low, low + RNG.uniform(5, 30, (num, 2))])


def _case(num_images: int, num_classes: int):
  """Return annotated boxes, and boxes that were found near most of them."""
  truth, found = [], []
  for _ in range(num_images):
    box_M4, label_M = (
      (m := _boxes(RNG.integers(0, 4))),
      RNG.integers(0, num_classes, len(m)),
    )
    crowd_M = RNG.uniform(size=len(box_M4)) < 0.15
    truth.append(detection.Boxes(box_M4, label_M, is_crowd_M=crowd_M))
    near_M4 = box_M4 + RNG.normal(0, 2, box_M4.shape)
    box_M4 = np.vstack([near_M4, _boxes(RNG.integers(0, 3))])
    label_M = np.concatenate(
      [label_M, RNG.integers(0, num_classes, len(box_M4) - len(label_M))]
    )
    # Some scores are equal.
    score_M = RNG.integers(1, 20, len(box_M4)) / 20
    found.append(detection.Boxes(box_M4, label_M, score_M))
  return truth, found


def _coco(truth, found, num_classes, by_class):
  """Return AP, AP50 and AP75 as pycocotools' summary has them."""

  def xywh(box_4):
    left, top, right, bottom = map(float, box_4)
    return [left, top, right - left, bottom - top]

  annotations = [
    {
      "id": 0,
      "image_id": n,
      "category_id": int(label),
      "bbox": xywh(box_4),
      "area": xywh(box_4)[2] * xywh(box_4)[3],
      "iscrowd": int(crowd),
    }
    for n, one in enumerate(truth)
    for box_4, label, crowd in zip(
      *(one.box_M4, one.label_M, one.is_crowd_M), strict=True
    )
  ]
  for i, annotation in enumerate(annotations):
    annotation["id"] = i + 1
  with contextlib.redirect_stdout(io.StringIO()):
    data = coco.COCO()
    data.dataset = {
      "images": [{"id": n} for n in range(len(truth))],
      "annotations": annotations,
      "categories": [{"id": k} for k in range(num_classes)],
    }
    data.createIndex()
    guesses = data.loadRes(
      [
        {
          "image_id": n,
          "category_id": int(label),
          "bbox": xywh(box_4),
          "score": float(score),
        }
        for n, one in enumerate(found)
        for box_4, label, score in zip(
          *(one.box_M4, one.label_M, one.score_M), strict=True
        )
      ]
    )
    judged = cocoeval.COCOeval(data, guesses, "bbox")
    judged.params.useCats = int(by_class)
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
  return judged.stats[:3]


def test_figures_equal_pycocotools_on_200_cases():
  for case in range(200):
    num_classes = 1 + case % 3
    truth, found = _case(4, num_classes)
    if not sum(map(detection._num_counted, truth)):
      continue
    got = detection.record(truth, found, num_classes, num_resamples=2)
    want = _coco(truth, found, num_classes, by_class=True)
    np.testing.assert_allclose([got[x] for x in detection.FIGURES], want)
    agnostic = _coco(truth, found, num_classes, by_class=False)
    assert got["class_agnostic_AP50"] == pytest.approx(agnostic[1])


def test_a_resample_is_the_figure_of_the_drawn_images():
  """A weighted figure equals pycocotools' on images that are repeated."""
  truth, found = _case(8, 2)
  for _ in range(5):
    drawn = np.sort(RNG.integers(0, 8, 8))
    weight_RN = np.bincount(drawn, minlength=8)[None]
    _, matches = detection._evaluated(truth, found, 2, True)
    ap_KT = np.stack([detection._weighted(m, weight_RN) for m in matches])
    again = [[x[i] for i in drawn] for x in (truth, found)]
    want, _ = detection._evaluated(*again, 2, True)
    assert np.nanmean(ap_KT) == pytest.approx(want["AP"], abs=1e-9)
    assert np.nanmean(ap_KT[:, 0]) == pytest.approx(want["AP50"], abs=1e-9)


def _image(*boxes, scores=None):
  box_M4 = np.array(boxes, float).reshape(-1, 4)
  return detection.Boxes(
    box_M4,
    np.zeros(len(box_M4), int),
    None if scores is None else np.array(scores, float),
  )


def test_by_hand():
  """Two objects; found: one right, one wrong, one right: 1 and 2/3."""
  truth = [_image((0, 0, 10, 10), (20, 20, 30, 30))]
  found = [
    _image(
      (0, 0, 10, 10), (50, 50, 60, 60), (20, 20, 30, 30), scores=(0.9, 0.8, 0.7)
    )
  ]
  got = detection.record(truth, found, 1)
  # Recalls 0 to 0.50 (51 of 101) at precision 1, the others at 2/3.
  assert got["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
  assert got["AP"] == pytest.approx(got["AP50"])
  assert got["AP75"] == pytest.approx(got["AP50"])
  assert got["intervals"]["AP50"] == [0.0, 1.0]
  assert got["num_boxes"] == 2


def test_nothing_found_is_0():
  truth = [_image((0, 0, 10, 10))] * 3
  none = [_image(scores=())] * 3
  got = detection.record(truth, none, 1)
  assert got["AP"] == 0
  assert got["class_agnostic_AP50"] == 0


def test_intervals_hold_the_figure_and_shrink():
  widths = []
  for num in (10, 90):
    got = detection.record(*_case(num, 1), 1, num_resamples=200)
    low, high = got["intervals"]["AP50"]
    assert low <= got["AP50"] <= high
    widths.append(high - low)
  assert widths[1] < widths[0]


def test_wrong_arguments():
  with pytest.raises(ValueError, match="must be those of the 1 annotated"):
    detection.record([_image((0, 0, 1, 1))], [], 1)
  with pytest.raises(ValueError, match="needs an annotated box; got none in 2"):
    detection.record([_image()] * 2, [_image(scores=())] * 2, 1)
