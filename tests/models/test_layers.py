"""Layers against slow NumPy formulas and other formulations of the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import layers

# Another order of the same float32 sums of up to 100 terms of order 1.
_CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _noise(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
  ("height", "width", "dim"), [(1, 1, 8), (2, 3, 8), (3, 2, 12)]
)
def test_sincos2d(height, width, dim):
  want = np.zeros((height * width, dim))
  quarter = dim // 4
  for y in range(height):
    for x in range(width):
      for i in range(quarter):
        frequency = 1 / 10_000 ** (i / (quarter - 1))
        row = want[y * width + x]
        row[i] = np.sin(x * frequency)
        row[quarter + i] = np.cos(x * frequency)
        row[2 * quarter + i] = np.sin(y * frequency)
        row[3 * quarter + i] = np.cos(y * frequency)
  got = layers.sincos2d(height, width, dim)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("dim", [4, 6, 10])
def test_sincos2d_refuses_a_width(dim):
  with pytest.raises(ValueError, match=rf"multiple of 4 .* got {dim}"):
    layers.sincos2d(2, 2, dim)


def test_layer_norm():
  norm = layers.LayerNorm(16, epsilon=1e-3, dtype="float32")
  norm.scale[...] = _noise(16, seed=1)
  norm.bias[...] = _noise(16, seed=2)
  x = 3 * _noise(4, 5, 16) + 100
  wide = x.astype(np.float64)
  centred = wide - wide.mean(axis=-1, keepdims=True)
  want = centred / np.sqrt(wide.var(axis=-1, keepdims=True) + 1e-3)
  # A mean of 100 costs float32 about 7 bits of the difference.
  np.testing.assert_allclose(
    norm(x), want * norm.scale[...] + norm.bias[...], rtol=1e-4, atol=1e-4
  )


def test_layer_norm_keeps_statistics_in_float32():
  """A mean of 100 in bfloat16 would be off by up to 0.25."""
  x = 3 * _noise(4, 16) + 100
  half = jnp.asarray(x, jnp.bfloat16)
  narrow = layers.LayerNorm(16, epsilon=1e-6, dtype="bfloat16")(half)
  wide = layers.LayerNorm(16, epsilon=1e-6, dtype="float32")(half)
  assert narrow.dtype == jnp.bfloat16
  # Nothing but the result is rounded, to 8 bits.
  np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention(is_causal, masked):
  attention = layers.Attention(12, 3, dtype="float32", rngs=nnx.Rngs(params=0))
  x_bSD, keys_bSD = _noise(2, 5, 12), _noise(2, 5, 12, seed=1)
  mask_bS = np.asarray([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], bool)

  def project(dense, x):
    return (x @ dense.kernel[...] + dense.bias[...]).reshape(2, 5, 3, 4)

  query = project(attention.query, x_bSD)
  key = project(attention.key, keys_bSD)
  value = project(attention.value, keys_bSD)
  y_bSHK = np.zeros((2, 5, 3, 4))
  for b in range(2):
    for h in range(3):
      for s in range(5):
        logits = np.asarray(key[b, :, h] @ query[b, s, h], np.float64) / 2
        seen = mask_bS[b].copy() if masked else np.ones(5, bool)
        if is_causal:
          seen &= np.arange(5) <= s
        weight = np.where(seen, np.exp(logits), 0)
        y_bSHK[b, s, h] = weight / weight.sum() @ np.asarray(value[b, :, h])
  want = y_bSHK.reshape(2, 5, 12) @ np.asarray(attention.out.kernel[...])
  got = attention(
    x_bSD,
    keys_bSD,
    mask_bHSS=mask_bS[:, None, None, :] if masked else None,
    is_causal=is_causal,
  )
  np.testing.assert_allclose(got, want, **_CLOSE)


def test_quick_gelu():
  x = np.linspace(-6, 6, 25, dtype=np.float32)
  want = x / (1 + np.exp(-1.702 * x.astype(np.float64)))
  np.testing.assert_allclose(layers.quick_gelu(x), want, **_CLOSE)


def test_map_head_ignores_what_is_masked():
  head = layers.MapHead(
    16,
    2,
    32,
    activation="gelu",
    norm_epsilon=1e-6,
    dtype="float32",
    rngs=nnx.Rngs(params=0),
  )
  run = jax.jit(lambda head, x, mask=None: head(x, mask_bHSS=mask))
  x_bSD = _noise(2, 6, 16)
  mask_b11S = (np.arange(6) < 4)[None, None, None, :].repeat(2, axis=0)
  got_bD = run(head, x_bSD, mask_b11S)
  assert got_bD.shape == (2, 16)
  np.testing.assert_allclose(got_bD, run(head, x_bSD[:, :4]), **_CLOSE)
  assert np.abs(got_bD - run(head, x_bSD)).max() > 1e-3


def test_dropout_keeps_the_mean_and_draws_by_example():
  keys_b = jax.random.split(jax.random.key(0), 4)
  x_bSD = np.ones((4, 50, 40), np.float32)
  y_bSD = np.asarray(layers.dropout(x_bSD, keys_b, 0.25))
  np.testing.assert_allclose(np.unique(y_bSD), [0, 4 / 3], rtol=1e-6)
  # 8,000 draws: the standard error of the share is 0.005.
  assert abs((y_bSD == 0).mean() - 0.25) < 0.025
  assert (y_bSD[0] != y_bSD[1]).any()
  alone_bSD = layers.dropout(x_bSD[2:3], keys_b[2:3], 0.25)
  np.testing.assert_array_equal(alone_bSD[0], y_bSD[2])
