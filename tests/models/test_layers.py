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


def _make_stack(depth=3, dtype="float32"):
  def make_block(rngs):
    return layers.Block(
      16,
      2,
      32,
      activation="gelu",
      norm_epsilon=1e-6,
      dtype=dtype,
      rngs=rngs,
    )

  return jax.jit(
    lambda: layers.make_stack(make_block, depth, nnx.Rngs(params=0))
  )()


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


def test_scan_equals_a_loop_over_layers():
  blocks = _make_stack()
  x_bSD = _noise(2, 5, 16)
  mask = jnp.asarray([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
  kwargs = {"mask_bHSS": mask[:, None, None, :], "is_causal": True}

  @jax.jit
  def run_block(block, x_bSD):
    return block(x_bSD, **kwargs)

  @jax.jit
  def run_stack(blocks, x_bSD):
    return layers.apply_stack(blocks, x_bSD, remat="none", **kwargs)

  want_bSD = x_bSD
  for i in range(3):
    block = jax.tree.map(lambda leaf, i=i: leaf[i], blocks)
    want_bSD = run_block(block, want_bSD)
  got_bSD = run_stack(blocks, x_bSD)
  np.testing.assert_allclose(got_bSD, want_bSD, **_CLOSE)


def test_layers_of_a_stack_start_different():
  kernel = _make_stack().mlp.up.kernel[...]
  assert kernel.shape == (3, 16, 32)
  assert np.abs(np.diff(kernel, axis=0)).max() > 0.1


@pytest.mark.parametrize(
  ("remat", "dtype"),
  [("dense", "float32"), ("block", "float32"), ("block", "bfloat16")],
)
def test_remat_changes_nothing(remat, dtype):
  blocks = _make_stack(dtype=dtype)
  x_bSD = jnp.asarray(_noise(2, 5, 16), dtype)

  def loss_fn(blocks, x_bSD, remat):
    y_bSD = layers.apply_stack(blocks, x_bSD, remat=remat)
    return jnp.sum(jnp.square(y_bSD.astype(jnp.float32)))

  run = jax.jit(jax.value_and_grad(loss_fn, argnums=(0, 1)), static_argnums=2)
  want, got = run(blocks, x_bSD, "none"), run(blocks, x_bSD, remat)
  # The same sums, but the compiler may fuse them otherwise; in bfloat16 it
  # then rounds elsewhere (8 bits). A key's bias moves all logits of a softmax
  # alike: its gradient is 0 but for rounding, so `atol` goes by the largest.
  tolerance = 1e-5 if dtype == "float32" else 3e-2
  largest = max(np.abs(x).max() for x in jax.tree.leaves(want[1]))

  def check(got, want):
    got, want = (np.asarray(x, np.float32) for x in (got, want))
    np.testing.assert_allclose(
      got, want, rtol=tolerance, atol=tolerance * float(largest)
    )

  jax.tree.map(check, got, want)


def test_remat_keeps_less():
  """Of a layer "dense" keeps about half, "block" only the input, [b, S, D]."""
  blocks = _make_stack(depth=8)
  x_bSD = _noise(8, 32, 16)

  def loss_fn(blocks, remat):
    return jnp.sum(layers.apply_stack(blocks, x_bSD, remat=remat))

  none, dense, block = (
    jax.jit(jax.grad(loss_fn), static_argnums=1)
    .lower(blocks, remat)
    .compile()
    .memory_analysis()
    .temp_size_in_bytes
    for remat in ("none", "dense", "block")
  )
  assert dense < 0.7 * none
  assert block < 0.6 * dense


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


def test_check_choice_names_the_field():
  with pytest.raises(ValueError, match=r"a\.b must be one of x, y; got 'z'"):
    layers.check_choice("a.b", "z", ("x", "y"))
