"""Convolutions beside XLA's general one, and their paddings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import convolution

# float32 sums of up to 50 products of size 1, in another order.
ATOL = 2e-5


def noise(*shape):
  rng = np.random.default_rng(sum(shape))
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def general(x, kernel, stride, pads, groups=1):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    pads,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
    precision=jax.lax.Precision.HIGHEST,
  )


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (5, 2)])
def test_depthwise_on_a_cpu_equals_grouped_convolution(size, stride):
  x, kernel = noise(2, 9, 8, 6), noise(size, size, 1, 6)
  dy_shape = jax.eval_shape(
    lambda x, k: general(x, k, stride, "VALID", 6), x, kernel
  ).shape
  dy = noise(*dy_shape)

  @jax.jit
  def both(x, kernel):
    results = []
    for fn in (
      lambda x, k: convolution._depthwise(x, k, stride),
      lambda x, k: general(x, k, stride, "VALID", 6),
    ):
      y, pull_back = jax.vjp(fn, x, kernel)
      results.append((y, *pull_back(dy)))
    return results

  got, expected = both(x, kernel)
  for a, b in zip(got, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=5 * ATOL)


def test_other_platforms_get_the_grouped_convolution():
  x, kernel = noise(2, 9, 8, 6), noise(3, 3, 1, 6)
  grad = jax.grad(
    lambda x, k: jnp.sum(jnp.square(convolution._depthwise(x, k, 1))), (0, 1)
  )
  text = {
    platform: jax.jit(grad)
    .trace(x, kernel)
    .lower(lowering_platforms=(platform,))
    .as_text()
    for platform in ("cpu", "tpu")
  }
  assert "convolution" in text["tpu"]
  assert "convolution" not in text["cpu"]


@pytest.mark.parametrize(
  ("padding", "stride", "side", "pads"),
  [
    ("same", 2, 8, (0, 1)),
    ("same", 2, 9, (1, 1)),
    ("same", 1, 9, (1, 1)),
    ("even", 2, 9, (0, 1)),
    ("even", 1, 9, (1, 1)),
    ("square", 2, 8, (1, 1)),
    ("valid", 2, 8, (0, 0)),
  ],
)
def test_paddings(padding, stride, side, pads):
  conv = convolution.Conv(
    3,
    4,
    3,
    stride=stride,
    padding=padding,
    dtype="float32",
    rngs=nnx.Rngs(params=0),
  )
  x = noise(2, side, side, 3)
  expected = general(x, conv.kernel[...], stride, [pads, pads])
  np.testing.assert_allclose(conv(x), expected, atol=ATOL)
  if padding == "same":
    like = general(x, conv.kernel[...], stride, "SAME")
    np.testing.assert_allclose(expected, like, atol=ATOL)


@pytest.mark.parametrize(("size", "side"), [(1, 5), (2, 5), (4, 9)])
def test_windows_are_a_convolution(size, side):
  conv = convolution.Conv(
    3,
    4,
    size,
    stride=size,
    padding="valid",
    use_bias=True,
    dtype="float32",
    rngs=nnx.Rngs(params=0),
  )
  conv.bias[...] = noise(4)
  x = noise(2, side, side, 3)
  expected = general(x, conv.kernel[...], size, "VALID") + conv.bias[...]
  np.testing.assert_allclose(conv(x), expected, atol=ATOL)


def test_average_pool():
  x = noise(2, 4, 6, 3)
  pooled = convolution.average_pool(x, 2)
  assert pooled.shape == (2, 2, 3, 3)
  np.testing.assert_allclose(
    pooled[1, 1, 2], np.mean(x[1, 2:4, 4:6], axis=(0, 1)), atol=1e-6
  )


def test_drop_path_leaves_out_whole_examples():
  x = jnp.ones((2000, 1, 1, 2))
  keys_b = jax.random.split(jax.random.key(0), 2000)
  drop = functools.partial(convolution.drop_path, x)
  np.testing.assert_array_equal(drop(None, 0.5), x)
  y = np.asarray(drop(keys_b, 0.2))
  np.testing.assert_array_equal(y[..., 0], y[..., 1])
  np.testing.assert_allclose(np.unique(y), [0, 1.25], rtol=1e-6)
  # 4 standard deviations of a share of 2000 draws.
  assert abs(np.mean(y == 0) - 0.2) < 0.036
  np.testing.assert_array_equal(drop(keys_b, 0.0), x)
