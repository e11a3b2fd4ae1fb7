"""Deformable convolution: beside a loop of NumPy and an ordinary one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import convolution
from models.detecting import deformable

RNG = np.random.default_rng(0)


def _make(stride: int = 1) -> deformable.DeformableConv:
  made = deformable.DeformableConv(
    3,
    4,
    stride=stride,
    init=jax.nn.initializers.normal(1.0),
    dtype="float32",
    rngs=nnx.Rngs(params=0),
  )
  made.bias[...] = jnp.arange(4.0)
  return made


def _loop(conv, x_bYXC, offset, mask):
  """Return the convolution, one value at a time."""
  kernel, bias = np.asarray(conv.kernel[...]), np.asarray(conv.bias[...])
  b, height, width, _, _ = offset.shape
  y = np.zeros((b, height, width, 4))

  def pixel(image, row, column):
    rows, columns = image.shape[:2]
    if 0 <= row < rows and 0 <= column < columns:
      return image[row, column]
    return np.zeros(3)

  for n, i, j, tap in np.ndindex(b, height, width, 9):
    row = i * conv.stride + tap // 3 - 1 + offset[n, i, j, tap, 0]
    column = j * conv.stride + tap % 3 - 1 + offset[n, i, j, tap, 1]
    top, left = int(np.floor(row)), int(np.floor(column))
    value = np.zeros(3)
    for r, wr in ((top, top + 1 - row), (top + 1, row - top)):
      for c, wc in ((left, left + 1 - column), (left + 1, column - left)):
        value += wr * wc * pixel(x_bYXC[n], r, c)
    value = value * mask[n, i, j, tap]
    y[n, i, j] += value @ kernel[tap // 3, tap % 3]
  return y + bias


@pytest.mark.parametrize("stride", [1, 2])
def test_gather_equals_a_loop(stride):
  conv = _make(stride)
  x = RNG.normal(size=(2, 7, 6, 3)).astype(np.float32)
  height, width = -(-7 // stride), -(-6 // stride)
  # Offsets beyond the picture too.
  offset = RNG.normal(0, 3, (2, height, width, 9, 2)).astype(np.float32)
  mask = RNG.uniform(size=(2, height, width, 9)).astype(np.float32)
  np.testing.assert_allclose(
    conv(x, offset, mask), _loop(conv, x, offset, mask), atol=2e-5
  )


@pytest.mark.parametrize("stride", [1, 2])
def test_no_offset_and_mask_half_is_half_a_convolution(stride):
  conv = _make(stride)
  ordinary = convolution.Conv(
    3, 4, 3, stride=stride, dtype="float32", rngs=nnx.Rngs(params=0)
  )
  ordinary.kernel[...] = conv.kernel[...]
  x = RNG.normal(size=(2, 9, 8, 3)).astype(np.float32)
  shape = (2, -(-9 // stride), -(-8 // stride), 9)
  got = conv(x, jnp.zeros((*shape, 2)), jnp.full(shape, 0.5))
  want = ordinary(x) / 2 + conv.bias[...]
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_gradient_of_an_offset_is_the_difference_quotient():
  conv = _make()
  x = jnp.asarray(RNG.normal(size=(1, 5, 5, 3)), jnp.float32)
  offset = jnp.full((1, 5, 5, 9, 2), 0.3)
  mask = jnp.ones((1, 5, 5, 9))

  def total(shift):
    return jnp.sum(jnp.square(conv(x, offset + shift, mask)))

  step = 1e-2
  quotient = (total(step) - total(-step)) / (2 * step)
  # float32, and the square's second derivative.
  np.testing.assert_allclose(jax.grad(total)(0.0), quotient, rtol=2e-3)


def test_offsets_of_any_size_are_finite():
  conv = _make()
  x = jnp.ones((1, 4, 4, 3))
  offset = jnp.full((1, 4, 4, 9, 2), 1e20)
  got = conv(x, offset, jnp.ones((1, 4, 4, 9)))
  np.testing.assert_array_equal(
    got, jnp.broadcast_to(jnp.arange(4.0), got.shape)
  )
