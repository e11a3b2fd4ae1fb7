"""Suppression and deformable convolution equal torchvision 0.29.1's."""

import jax
import numpy as np
import pytest
from flax import nnx

from models.detecting import boxes, deformable
from tests.models.detecting import torchvision_cases as cases


@pytest.fixture(scope="module")
def golden():
  with np.load(cases.PATH, allow_pickle=False) as file:
    yield dict(file)


def test_suppression_on_200_cases(golden):
  box_NA4, score_NA, _ = cases.boxes()
  got_NA = jax.jit(jax.vmap(boxes.suppressed, (0, 0, None)))(
    box_NA4, score_NA, cases.THRESHOLD
  )
  assert 0 < golden["kept"].mean() < 1
  np.testing.assert_array_equal(got_NA, golden["kept"])


def test_suppression_within_classes_on_200_cases(golden):
  box_NA4, score_NA, label_NA = cases.boxes()
  got_NA = jax.jit(jax.vmap(boxes.suppressed, (0, 0, None, 0)))(
    box_NA4, score_NA, cases.CLASS_THRESHOLD, label_NA
  )
  assert (golden["kept_in_class"] != golden["kept"]).any()
  np.testing.assert_array_equal(got_NA, golden["kept_in_class"])


@pytest.mark.parametrize("stride", [1, 2])
def test_modulated_deformable_convolution(golden, stride):
  x, offset, mask, kernel = cases.convolution(stride)
  conv = deformable.DeformableConv(
    4,
    6,
    stride=stride,
    init=jax.nn.initializers.normal(1.0),
    dtype="float32",
    rngs=nnx.Rngs(params=0),
  )
  conv.kernel[...] = kernel
  # 36 products of float32 of size 1.
  np.testing.assert_allclose(
    conv(x, offset, mask), golden[f"convolved_{stride}"], atol=2e-5
  )
