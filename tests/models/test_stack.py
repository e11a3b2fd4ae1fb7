"""Stacked layers: what is scanned, recomputed or left out changes no result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import dual_encoder, layers, stack
from tests.models import towers

# Another order of the same float32 sums of up to 100 terms of order 1.
_CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _noise(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _make_stack(depth=3, dtype="float32", dropout=0.0):
  def make_block(rngs):
    return stack.Block(
      16,
      2,
      32,
      activation="gelu",
      norm_epsilon=1e-6,
      dtype=dtype,
      dropout=dropout,
      rngs=rngs,
    )

  return jax.jit(
    lambda: stack.make_stack(make_block, depth, nnx.Rngs(params=0))
  )()


def _run(blocks, x_bSD, *, remat="none", keys_b=None, **kwargs):
  """Run the layers alone: tokens in, tokens out."""
  return stack.encode(
    {"x": x_bSD},
    keys_b,
    stem=lambda rows: rows["x"],
    blocks=blocks,
    head=lambda x_bSD, rows: x_bSD,
    remat=remat,
    **kwargs,
  )


def test_scan_equals_a_loop_over_layers():
  blocks = _make_stack()
  x_bSD = _noise(2, 5, 16)
  mask = jnp.asarray([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
  mask_b11S = mask[:, None, None, :]

  @jax.jit
  def run_block(block, x_bSD):
    return block(x_bSD, mask_bHSS=mask_b11S, is_causal=True)

  @jax.jit
  def run_stack(blocks, x_bSD):
    return _run(blocks, x_bSD, mask_fn=lambda rows: mask_b11S, is_causal=True)

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


@pytest.mark.slow
@pytest.mark.parametrize(
  ("remat", "dtype"),
  [("dense", "float32"), ("block", "float32"), ("block", "bfloat16")],
)
def test_remat_changes_nothing(remat, dtype):
  blocks = _make_stack(dtype=dtype)
  x_bSD = jnp.asarray(_noise(2, 5, 16), dtype)

  def loss_fn(blocks, x_bSD, remat):
    y_bSD = _run(blocks, x_bSD, remat=remat)
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
  """Remat "dense" keeps half of a layer, "block" only its input [b, S, D]."""
  blocks = _make_stack(depth=8)
  x_bSD = _noise(8, 32, 16)

  def loss_fn(blocks, remat):
    return jnp.sum(_run(blocks, x_bSD, remat=remat))

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


@pytest.mark.slow
@pytest.mark.parametrize(
  ("depth", "is_causal", "cut_from"),
  [(1, False, 0), (1, True, 0), (3, False, 0), (3, True, 0), (3, True, 16)],
)
def test_one_token_of_the_last_layer(depth, is_causal, cut_from, monkeypatch):
  """Values and gradients are those of all tokens, one of them taken."""
  monkeypatch.setattr(stack, "CUT_FROM_TOKENS", cut_from)  # 15 tokens
  blocks = _make_stack(depth)
  x_bSD = _noise(3, 5, 16)
  token_b = np.asarray([0, 4, 2], np.int32)
  mask_b11S = (np.arange(5) != 1)[None, None, None, :].repeat(3, axis=0)
  weight_bD = _noise(3, 16, seed=1)

  def loss_fn(blocks, x_bSD, one):
    y_bSD = _run(
      blocks,
      x_bSD,
      mask_fn=lambda rows: mask_b11S,
      is_causal=is_causal,
      token_fn=(lambda rows: token_b) if one else None,
    )
    y_bD = y_bSD[:, 0] if one else y_bSD[np.arange(3), token_b]
    return jnp.sum(y_bD * weight_bD)

  run = jax.jit(jax.value_and_grad(loss_fn, argnums=(0, 1)), static_argnums=2)
  got, want = run(blocks, x_bSD, True), run(blocks, x_bSD, False)
  jax.tree.map(
    lambda got, want: np.testing.assert_allclose(got, want, **_CLOSE), got, want
  )


@pytest.mark.parametrize("one", [False, True])
def test_layers_apart_change_nothing(one):
  config = towers.make_config(image={"pool": "cls" if one else "gap"})
  embed_images, embed_texts = map(jax.jit, dual_encoder.embed_fns(config))
  params = towers.make_params(config)
  apart = stack.layers_apart(params)
  kernels = apart["img"]["blocks"]["mlp"]["up"]["kernel"]
  assert [x.shape for x in kernels] == [(16, 32)] * 2
  for fn, rows in (
    (embed_images, towers.make_images()),
    (embed_texts, towers.make_tokens()),
  ):
    np.testing.assert_allclose(fn(apart, rows), fn(params, rows), **_CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [2, 4, 3])
def test_chunks_change_nothing(chunks):
  """Neither do numbers that do not divide the batch, nor draws."""
  blocks = _make_stack(dropout=0.3)
  x_bSD = _noise(8, 5, 16)
  keys_b = jax.random.split(jax.random.key(3), 8)

  def loss_fn(blocks, x_bSD, remat, chunks):
    y_bSD = _run(blocks, x_bSD, remat=remat, chunks=chunks, keys_b=keys_b)
    return jnp.sum(jnp.square(y_bSD))

  run = jax.jit(
    jax.value_and_grad(loss_fn, argnums=(0, 1)), static_argnums=(2, 3)
  )
  got, want = run(blocks, x_bSD, "block", chunks), run(blocks, x_bSD, "none", 1)
  largest = float(max(np.abs(x).max() for x in jax.tree.leaves(want[1])))
  jax.tree.map(
    lambda got, want: np.testing.assert_allclose(
      got, want, rtol=1e-5, atol=1e-5 * largest
    ),
    got,
    want,
  )


def test_chunks_need_less_while_a_layer_is_computed():
  blocks = _make_stack(depth=2)
  x_bSD = _noise(64, 64, 16)

  def temporaries(chunks):
    def loss_fn(blocks):
      return jnp.sum(_run(blocks, x_bSD, remat="block", chunks=chunks))

    memory = jax.jit(jax.grad(loss_fn)).lower(blocks).compile()
    return memory.memory_analysis().temp_size_in_bytes

  assert temporaries(8) < 0.5 * temporaries(1)


def test_dropout_needs_keys_and_differs_between_layers():
  blocks = _make_stack(depth=1, dropout=0.5)
  x_bSD = _noise(2, 5, 16)
  keys_b = jax.random.split(jax.random.key(0), 2)
  plain_bSD = _run(_make_stack(depth=1), x_bSD)
  np.testing.assert_allclose(_run(blocks, x_bSD), plain_bSD, **_CLOSE)
  drawn_bSD = _run(blocks, x_bSD, keys_b=keys_b)
  assert np.abs(drawn_bSD - plain_bSD).max() > 1e-3
  np.testing.assert_array_equal(_run(blocks, x_bSD, keys_b=keys_b), drawn_bSD)
  # The same layer twice, each with draws of its own.
  twice = jax.tree.map(lambda p: jnp.concatenate([p, p]), blocks)
  got_bSD = _run(twice, x_bSD, keys_b=keys_b)
  same = jax.tree.map(lambda p: p[0], blocks)
  repeated_bSD = x_bSD
  for _ in range(2):
    repeated_bSD = same(repeated_bSD, keys_b=layers.fold_in(keys_b, 0))
  assert np.abs(got_bSD - repeated_bSD).max() > 1e-3
