"""Boxes of expressions: overlaps by hand, broken boxes, splits and chance."""

import numpy as np
import pytest

from evaluators import summary
from evaluators.metrics.generation import referring
from tests.evaluators import test_results_schema

TRUTH = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 9, 9], [1, 1, 3, 3.0]])
IMAGES = [7, 7, 3, 9]


def test_overlaps_by_hand():
  found = np.array(
    [[0, 0, 10, 5], [5, 5, 15, 15], [5, 5, 9, 9], [4, 4, 5, 5.0]]
  )
  # Half; 25 of 175; all; none.
  np.testing.assert_allclose(
    referring.ious(found, TRUTH), [0.5, 1 / 7, 1, 0], atol=1e-15
  )
  made = referring.record(found, TRUTH, IMAGES)
  # An IoU of 0.5 is right.
  assert made["accuracy"] == 0.5
  assert made["mean_iou"] == pytest.approx((0.5 + 1 / 7 + 1) / 4)
  assert made["num_broken"] == 0


@pytest.mark.parametrize(
  "box", [[5, 5, 5, 9], [9, 9, 5, 5], [5, np.nan, 9, 9], [5, 5, np.inf, 9]]
)
def test_a_box_that_is_none_is_wrong(box):
  found = TRUTH.copy()
  found[2] = box
  made = referring.record(found, TRUTH, IMAGES)
  assert made["num_broken"] == 1
  assert made["accuracy"] == 0.75


def test_chance_is_of_the_next_image():
  # Images in order: 3, 7, 9. Each has the box of its annotation.
  made = referring.record(TRUTH, TRUTH, IMAGES)
  other = TRUTH[[3, 3, 0, 2]]
  iou = referring.ious(other, TRUTH)
  assert made["accuracy"] == 1
  assert made["chance"] == {
    "accuracy": float((iou >= 0.5).mean()),
    "mean_iou": pytest.approx(iou.mean()),
  }


def test_splits():
  found, images = TRUTH.copy(), [1, 2, 3, 4]
  found[0] = 0
  made = referring.record(
    found, TRUTH, images, ["testA", "testA", "val", "val"]
  )
  assert made["accuracy"] == 0.75
  assert [x["accuracy"] for x in made["parts"].values()] == [0.5, 1]
  assert made["parts"]["testA"]["num_expressions"] == 2
  test_results_schema.validate({"refcoco": made})
  assert [x.label for x in summary.rows({"refcoco": made})] == [
    "overall",
    "testA",
    "val",
  ]


def test_expressions_of_an_image_go_together():
  truth = np.tile([[0, 0, 4, 4.0]], (40, 1))
  found = truth + np.repeat([0.0, 9], 20)[:, None]
  apart = referring.record(found, truth, np.arange(40))
  together = referring.record(found, truth, np.arange(40) // 10)
  width = lambda x: np.ptp(x["intervals"]["accuracy"])  # noqa: E731
  assert width(together) > 1.5 * width(apart)


def test_messages():
  def refused(message, found=TRUTH, truth=TRUTH, images=IMAGES, splits=()):
    with pytest.raises(ValueError, match=message):
      referring.record(found, truth, images, splits)

  refused(r"got \(3, 4\)", TRUTH[:3])
  refused("a split each", splits=["a"])
  refused("annotated boxes .* in row 1", truth=TRUTH * [[1], [-1], [1], [1]])
  refused("at least 2 images.*got 1$", images=[1] * 4)
  refused("got 1 in the split b", splits=["a", "a", "a", "b"])
