"""Boxes: overlap, deltas and suppression, beside pycocotools and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from models.detecting import boxes

RNG = np.random.default_rng(0)
# jit compiles each once, for 200 cases.
IOU = jax.jit(boxes.iou)
SUPPRESSED = jax.jit(boxes.suppressed)


def _boxes(num: int) -> np.ndarray:
  low = RNG.uniform(0, 50, (num, 2))
  return np.hstack([low, low + RNG.uniform(1, 30, (num, 2))]).astype(np.float32)


def _xywh(box_A4: np.ndarray) -> np.ndarray:
  return np.hstack([box_A4[:, :2], box_A4[:, 2:] - box_A4[:, :2]]).astype(float)


def _brute_suppressed(box_A4, score_A, threshold):
  """Suppress one box after the other, by pycocotools' IoU."""
  overlap_AA = coco_mask.iou(_xywh(box_A4), _xywh(box_A4), [0] * len(box_A4))
  keep_A, left = np.zeros(len(box_A4), bool), [*np.argsort(-score_A)]
  while left:
    best = left[0]
    keep_A[best] = True
    left = [i for i in left[1:] if overlap_AA[best, i] <= threshold]
  return keep_A


def test_iou_and_suppression_equal_pycocotools_on_200_cases():
  for _ in range(200):
    box_A4, score_A = _boxes(24), RNG.permutation(24).astype(np.float32)
    want_AA = coco_mask.iou(_xywh(box_A4), _xywh(box_A4), [0] * 24)
    # Both are float32 against float64.
    np.testing.assert_allclose(IOU(box_A4, box_A4), want_AA, atol=2e-6)
    got_A = SUPPRESSED(box_A4, score_A, 0.3)
    np.testing.assert_array_equal(
      got_A, _brute_suppressed(box_A4, score_A, 0.3)
    )


def test_suppression_is_within_classes():
  box_A4 = np.tile(np.float32([0, 0, 9, 9]), (4, 1))
  score_A = np.float32([0.1, 0.9, 0.5, -np.inf])
  keep_A = boxes.suppressed(box_A4, score_A, 0.6, np.array([0, 0, 1, 2]))
  assert keep_A.tolist() == [False, True, True, False]


def test_decode_is_the_inverse_of_encode():
  box_A4, anchor_A4 = _boxes(20), _boxes(20)
  delta_A4 = boxes.encode(box_A4, anchor_A4)
  np.testing.assert_allclose(
    boxes.decode(delta_A4, anchor_A4), box_A4, atol=1e-4
  )
  centre = (anchor_A4[0, :2] + anchor_A4[0, 2:]) / 2
  moved = centre + 0.1 * (anchor_A4[0, 2:] - anchor_A4[0, :2])
  got_4 = boxes.decode(np.float32([1, 1, 0, 0]), anchor_A4[0])
  np.testing.assert_allclose((got_4[:2] + got_4[2:]) / 2, moved, rtol=1e-5)


def test_decode_of_any_delta_is_finite():
  huge_4 = np.float32([1e4, -1e4, 1e6, 1e6])
  box_4 = boxes.decode(huge_4, np.float32([0, 0, 64, 64]))
  assert np.isfinite(box_4).all()


@pytest.mark.parametrize(
  ("box", "target", "want"),
  [
    ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
    ((0, 0, 1, 1), (2, 0, 3, 1), -1 / 3),
    ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7 - 2 / 9),
  ],
)
def test_giou_by_hand(box, target, want):
  got = boxes.giou(jnp.float32(box), jnp.float32(target))
  assert float(got) == pytest.approx(want, abs=1e-6)


def test_giou_pulls_boxes_apart_together():
  """Boxes without overlap have no gradient of IoU, and one of GIoU."""
  target_4 = jnp.float32([50, 50, 60, 60])
  box_4 = jnp.float32([0, 0, 10, 10])
  grad_4 = jax.grad(lambda box: boxes.giou(box, target_4))(box_4)
  assert np.isfinite(grad_4).all()
  assert (grad_4[2:] > 0).all()
  overlap = jax.grad(lambda box: boxes.iou(box[None], target_4[None])[0, 0])
  assert not overlap(box_4).any()


def test_boxes_are_cut_off_at_the_picture():
  got_4 = boxes.clip(jnp.float32([-5, 3, 200, 70]), 64, 128)
  assert got_4.tolist() == [0, 3, 128, 64]
