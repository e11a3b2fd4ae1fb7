"""Figures of masks and depths: scikit-learn's, and by hand."""

import doctest

import numpy as np
import pytest
from sklearn import metrics

from evaluators.metrics import dense


def _maps(num_images=4, num_classes=5, seed=0):
  """Return masks with void pixels; class 3 is nowhere, 4 never predicted."""
  rng = np.random.default_rng(seed)
  truths, founds = [], []
  for _ in range(num_images):
    truth = rng.choice([-1, 0, 1, 2, 4], (6, 7), p=[0.1, 0.5, 0.2, 0.15, 0.05])
    found = np.where(
      rng.random((6, 7)) < 0.7, truth, rng.integers(0, 3, (6, 7))
    )
    truths.append(truth)
    founds.append(np.where((found < 0) | (found > 2), 1, found))
  return truths, founds


def _record(truths, founds, num_classes=5, most_frequent=0):
  confusions = [
    dense.count(truth, found, num_classes)
    for truth, found in zip(truths, founds, strict=True)
  ]
  names = [f"class {i}" for i in range(num_classes)]
  return dense.segmentation(dense.counts(confusions), names, most_frequent)


def test_examples():
  results = doctest.testmod(dense)
  assert results.attempted >= 2
  assert not results.failed


def test_confusion_and_iou_are_scikit_learns():
  truths, founds = _maps()
  truth, found = (
    np.concatenate([x.ravel() for x in m]) for m in (truths, founds)
  )
  is_in = truth >= 0
  truth, found = truth[is_in], found[is_in]
  total = sum(dense.count(t, f, 5) for t, f in zip(truths, founds, strict=True))
  labels = [*range(5)]
  expected = metrics.confusion_matrix(truth, found, labels=labels)
  np.testing.assert_array_equal(total, expected)
  record = _record(truths, founds)
  there = [0, 1, 2, 4]
  ious = metrics.jaccard_score(truth, found, labels=there, average=None)
  by_class = [record["per_class"][i]["iou"] for i in there]
  # Sums of some hundred pixels are exact in float64.
  np.testing.assert_allclose(by_class, ious, rtol=1e-12)
  assert record["per_class"][3]["iou"] is None
  assert record["num_classes_scored"] == 4
  assert record["mIoU"] == pytest.approx(ious.mean(), rel=1e-12)
  accuracy = metrics.accuracy_score(truth, found)
  assert record["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-12)


def test_chance_is_that_of_one_class():
  truths, founds = _maps()
  record = _record(truths, founds, most_frequent=1)
  ones = [np.ones_like(x) for x in truths]
  same = _record(truths, ones)
  for name in ("mIoU", "pixel_accuracy"):
    assert record["chance"][name] == pytest.approx(same[name], rel=1e-12)


def test_sums_are_over_all_images():
  """A class of one image alone is not averaged by image."""
  truths = [np.array([[0, 0, 0, 1]]), np.array([[0, 0, 0, 0]])]
  founds = [np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])]
  record = _record(truths, founds, num_classes=2)
  # 0: 5 of 7; 1: 1 of 3.
  assert record["mIoU"] == pytest.approx((5 / 7 + 1 / 3) / 2)


def test_intervals_hold_the_figure_and_do_not_depend_on_the_order():
  truths, founds = _maps(30)
  record = _record(truths, founds)
  for name in ("mIoU", "pixel_accuracy"):
    low, high = record["intervals"][name]
    assert low < record[name] < high
    assert high - low < 0.2
  again = _record(truths, founds)
  assert again["intervals"] == record["intervals"]
  assert _record(truths[:1], founds[:1])["intervals"]["mIoU"] == [0, 1]


def test_masks_without_a_class_are_refused():
  nothing = [np.full((2, 2), -1)]
  with pytest.raises(ValueError, match="must have a pixel of a class"):
    _record(nothing, [np.zeros((2, 2), int)])


def test_errors_of_depths_by_hand():
  truth = np.array([[0.0, 1, 2, 4]])
  found = np.array([[9.0, 1.1, 2, 2]])
  constant = np.full((1, 4), 2.0)
  other = np.array([[3.0, 0, 0, 0]]), np.array([[3.5, 1, 1, 1]])
  nothing = np.zeros((1, 4)), constant
  record = dense.depth(
    np.stack([dense.errors(*x) for x in ((truth, found), other, nothing)]),
    np.stack(
      [dense.errors(x, constant) for x in (truth, other[0], nothing[0])]
    ),
  )
  rmse = np.sqrt((0.01 + 0 + 4) / 3)
  assert (record["num_images"], record["num_empty"]) == (2, 1)
  assert record["rmse"] == pytest.approx((rmse + 0.5) / 2)
  assert record["abs_rel"] == pytest.approx((0.6 / 3 + 0.5 / 3) / 2)
  assert record["delta1"] == pytest.approx((2 / 3 + 1) / 2)
  assert record["rmse_of_pixels"] == pytest.approx(np.sqrt(4.26 / 4))
  assert record["chance"]["rmse"] == pytest.approx((np.sqrt(5 / 3) + 1) / 2)
  for name, (low, high) in record["intervals"].items():
    assert low <= record[name] <= high
  empty = dense.errors(*nothing)[None]
  with pytest.raises(ValueError, match="must have a measured pixel"):
    dense.depth(empty, empty)
