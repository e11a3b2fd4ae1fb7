"""Losses of detection: ATSS by hand and by brute force, focal, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from losses import atss, detection
from models.detecting import anchors as anchors_lib
from models.detecting import boxes, detector

RNG = np.random.default_rng(0)
ANCHORS = anchors_lib.make(64, 64, 8.0)
ASSIGN = jax.jit(lambda box, mask: atss.assign(ANCHORS, box, mask))


def _iou(a, b):
  low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
  inside = np.prod(np.maximum(high - low, 0))
  union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside
  return inside / union


def _brute(box_M4):
  """Assign boxes as section 3.2 of ATSS says, one box after the other."""
  num = len(ANCHORS.box_A4)
  best_A, index_A = np.full(num, -1.0), np.full(num, -1)
  for m, box in enumerate(box_M4):
    centre = (box[:2] + box[2:]) / 2
    chosen = []
    for start, size in zip(
      anchors_lib.starts(ANCHORS.sizes), ANCHORS.sizes, strict=True
    ):
      rows = np.arange(start, start + size)
      far = ((ANCHORS.centre_A2[rows] - centre) ** 2).sum(1)
      chosen += [*rows[np.argsort(far, kind="stable")[:9]]]
    ious = np.array([_iou(ANCHORS.box_A4[a], box) for a in chosen])
    least = ious.mean() + ious.std(ddof=1)
    for a, overlap in zip(chosen, ious, strict=True):
      x, y = ANCHORS.centre_A2[a]
      gap = min(x - box[0], y - box[1], box[2] - x, box[3] - y)
      if overlap >= least and gap > 0.01 and overlap > best_A[a]:
        best_A[a], index_A[a] = overlap, m
  return index_A


def test_anchors_of_the_paper():
  made = anchors_lib.make(800, 1333, 8.0)
  sides = [made.box_A4[s] for s in anchors_lib.starts(made.sizes)]
  assert [float(x[2] - x[0]) for x in sides] == [64, 128, 256, 512, 1024]
  assert made.sizes == (100 * 167, 50 * 84, 25 * 42, 13 * 21, 7 * 11)
  assert made.centre_A2[0].tolist() == [4.0, 4.0]


def test_assignment_by_hand():
  """One box that equals an anchor; the second only fills up.

  The first is the anchor at (36, 36) of p3. Its candidates' IoU are 1, 4 times
  0.778 and 0.620 on p3, 9 times 0.25 on p4, 4 times 0.0625 on p5, 0.0156 and
  0.0039 on p6 and p7: mean 0.380, deviation 0.301, so at least 0.680.
  """
  box_M4 = np.float32([[4, 4, 68, 68], [0, 0, 0, 0]])
  got = ASSIGN(box_M4, np.array([True, False]))
  at = 4 * 8 + 4
  assert ANCHORS.centre_A2[at].tolist() == [36, 36]
  positive = np.flatnonzero(got.index_A == 0)
  assert positive.tolist() == [at - 8, at - 1, at, at + 1, at + 8]
  np.testing.assert_array_equal(got.box_A4[at], box_M4[0])
  assert float(got.centre_A[at]) == 1.0
  # (28, 36): 24 and 40 pixels from left and right.
  assert float(got.centre_A[at - 1]) == pytest.approx(np.sqrt(24 / 40))


def test_assignment_equals_brute_force():
  for _ in range(20):
    low = RNG.uniform(0, 40, (4, 2))
    box_M4 = np.hstack([low, low + RNG.uniform(2, 60, (4, 2))])
    box_M4 = box_M4.astype(np.float32)
    padded = np.vstack([box_M4, np.zeros((2, 4), np.float32)])
    got = ASSIGN(padded, np.arange(6) < 4)
    np.testing.assert_array_equal(got.index_A, _brute(box_M4))


def test_padding_changes_nothing():
  box_M4 = np.float32([[8, 8, 40, 40], [9, 9, 60, 60]])
  filled = np.vstack([box_M4, np.float32([[1, 1, 50, 50]] * 4)])
  one = atss.assign(ANCHORS, box_M4, np.ones(2, bool))
  other = ASSIGN(filled, np.arange(6) < 2)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_focal_with_power_0_is_cross_entropy():
  logit = jnp.asarray(RNG.normal(size=9), jnp.float32)
  target = jnp.asarray(RNG.integers(0, 2, 9), jnp.float32)
  got = 2 * detection.sigmoid_focal(logit, target, alpha=0.5, gamma=0.0)
  want = optax.sigmoid_binary_cross_entropy(logit, target)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def _outputs(num_classes: int) -> detector.Outputs:
  num = len(ANCHORS.box_A4)
  draw = lambda *shape: jnp.asarray(RNG.normal(size=shape), jnp.float32)  # noqa: E731
  return detector.Outputs(
    draw(2, num, num_classes), draw(2, num, 4), draw(2, num)
  )


@jax.jit
def _value_and_grad(outputs, box_BM4, mask_BM):
  label_BM = jnp.ones(mask_BM.shape, jnp.int32)

  def total(outputs):
    args = (outputs, ANCHORS, box_BM4, label_BM, mask_BM)
    made = detection.losses(*args)
    return made.total, made

  return jax.value_and_grad(total, has_aux=True)(outputs)


def test_gradients_are_finite_with_boxes_apart_and_none():
  """The second picture has no box; deltas move boxes far from theirs."""
  outputs = _outputs(2)
  far = outputs.delta_bA4.at[..., :2].set(1e4).at[..., 2:].set(-50.0)
  outputs = detector.Outputs(outputs.logit_bAJ, far, outputs.centre_bA)
  box_BM4 = np.float32([[[4, 4, 68, 68], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2])
  mask_BM = np.array([[True, False], [False, False]])
  (total, made), grads = _value_and_grad(outputs, box_BM4, mask_BM)
  assert np.isfinite(total)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  assert float(made.num_positive) == 5
  # Boxes without overlap: the gradient is not zero, and at positives alone.
  is_taught = np.any(grads.delta_bA4, axis=-1)
  assert is_taught[0].sum() == 5
  assert not is_taught[1].any()
  assert np.all(np.any(grads.logit_bAJ, axis=-1))
  (total, made), grads = _value_and_grad(outputs, box_BM4, mask_BM & False)
  assert float(made.box) == float(made.centre) == 0
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_the_right_outputs_lose_next_to_nothing():
  box_BM4 = np.float32([[[4, 4, 68, 68]], [[10, 20, 40, 60]]])
  mask_BM = np.ones((2, 1), bool)
  found = jax.vmap(ASSIGN)(box_BM4, mask_BM)
  is_positive = found.index_A >= 0
  hot = jnp.stack([jnp.zeros(is_positive.shape), is_positive * 1.0], axis=-1)
  outputs = detector.Outputs(
    40 * hot - 20,
    boxes.encode(found.box_A4, ANCHORS.box_A4),
    jnp.zeros(is_positive.shape),
  )
  (_, made), _ = _value_and_grad(outputs, box_BM4, mask_BM)
  assert float(made.focal) < 1e-6
  assert float(made.box) < 1e-5
