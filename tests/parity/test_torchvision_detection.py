"""GIoU and focal loss beside torchvision's.

Suppression and deformable convolution are compiled operators: their golden is
in tests/models/detecting.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torchvision import ops

from losses import detection
from models.detecting import boxes

RNG = np.random.default_rng(0)


def _boxes(num: int) -> np.ndarray:
  low = RNG.uniform(0, 50, (num, 2))
  return np.hstack([low, low + RNG.uniform(1, 30, (num, 2))]).astype(np.float32)


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
