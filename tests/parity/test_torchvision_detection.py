"""Detection beside torchvision's: suppression, GIoU, focal loss, sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torchvision import extension, ops

from losses import detection
from models.detecting import boxes, deformable

RNG = np.random.default_rng(0)
SUPPRESSED = jax.jit(boxes.suppressed)
# PyPI's wheel beside torch's build for the CPU has none (torchvision_loading).
needs_operators = pytest.mark.skipif(
  not extension._has_ops(),
  reason="this torchvision cannot load its compiled operators",
)


def _boxes(num: int) -> np.ndarray:
  low = RNG.uniform(0, 50, (num, 2))
  return np.hstack([low, low + RNG.uniform(1, 30, (num, 2))]).astype(np.float32)


@needs_operators
def test_suppression_on_200_cases():
  for _ in range(200):
    box_A4, score_A = _boxes(30), RNG.permutation(30).astype(np.float32)
    kept = ops.nms(torch.tensor(box_A4), torch.tensor(score_A), 0.6)
    got_A = SUPPRESSED(box_A4, score_A, 0.6)
    assert np.flatnonzero(got_A).tolist() == sorted(kept.tolist())


@needs_operators
def test_suppression_within_classes():
  box_A4, score_A = _boxes(60), RNG.permutation(60).astype(np.float32)
  label_A = RNG.integers(0, 3, 60).astype(np.int32)
  kept = ops.batched_nms(
    *map(torch.tensor, (box_A4, score_A, label_A)), iou_threshold=0.5
  )
  got_A = boxes.suppressed(box_A4, score_A, 0.5, label_A)
  assert np.flatnonzero(got_A).tolist() == sorted(kept.tolist())


def test_giou_and_its_gradient():
  """The gradient too, for pairs that overlap and pairs that do not."""
  box_A4, target_A4 = _boxes(200), _boxes(200)
  there = torch.tensor(box_A4, requires_grad=True)
  lost = ops.generalized_box_iou_loss(there, torch.tensor(target_A4))
  lost.sum().backward()
  value_A = boxes.giou(box_A4, target_A4)
  # torchvision adds 1e-7 to its divisors; areas are of 1 to 900 pixels.
  np.testing.assert_allclose(1 - value_A, lost.detach(), atol=2e-6)
  grad_A4 = jax.grad(lambda box: jnp.sum(1 - boxes.giou(box, target_A4)))(
    box_A4
  )
  np.testing.assert_allclose(grad_A4, there.grad, atol=5e-6)
  assert (lost > 1).any()  # some pairs are apart


def test_focal_loss_and_its_gradient():
  logit = RNG.normal(0, 4, 500).astype(np.float32)
  target = RNG.integers(0, 2, 500).astype(np.float32)
  there = torch.tensor(logit, requires_grad=True)
  lost = ops.sigmoid_focal_loss(
    there, torch.tensor(target), alpha=0.25, gamma=2.0
  )
  lost.sum().backward()
  got = detection.sigmoid_focal(logit, target)
  np.testing.assert_allclose(got, lost.detach(), rtol=2e-5, atol=1e-7)
  grad = jax.grad(lambda x: jnp.sum(detection.sigmoid_focal(x, target)))(logit)
  np.testing.assert_allclose(grad, there.grad, rtol=2e-5, atol=1e-6)


@needs_operators
@pytest.mark.parametrize("stride", [1, 2])
def test_modulated_deformable_convolution(stride):
  conv = deformable.DeformableConv(
    4,
    6,
    stride=stride,
    init=jax.nn.initializers.normal(1.0),
    dtype="float32",
    rngs=nnx.Rngs(params=0),
  )
  x = RNG.normal(size=(2, 9, 7, 4)).astype(np.float32)
  shape = (2, -(-9 // stride), -(-7 // stride), 9)
  offset = RNG.normal(0, 2, (*shape, 2)).astype(np.float32)
  mask = RNG.uniform(size=shape).astype(np.float32)

  def channels_first(array):
    return torch.tensor(np.moveaxis(np.asarray(array), -1, 1))

  want = ops.deform_conv2d(
    channels_first(x),
    channels_first(offset.reshape(*shape[:3], 18)),
    torch.tensor(np.asarray(conv.kernel[...]).transpose(3, 2, 0, 1)),
    stride=stride,
    padding=1,
    mask=channels_first(mask),
  )
  got = np.moveaxis(np.asarray(conv(x, offset, mask)), -1, 1)
  # 36 products of float32 of size 1.
  np.testing.assert_allclose(got, want, atol=2e-5)
