"""Transformer layers, stacked and scanned, and what is kept for their gradient.

Memory is what a tower costs: `remat` says what a layer keeps of its forward
pass, and `chunks` into how many parts the batch is cut while a layer is
computed and computed again, so that only the layers' inputs are ever held for
the whole batch.
"""

import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import P

from models import layers

# What a layer keeps for its backward pass. "none": whatever that reads.
# "dense": outputs of the affine maps; norms, activations and attention weights
# are computed again, which costs less than to store and load them. "block": the
# layer's input only, all else is computed again.
REMATS: Mapping[str, Any] = types.MappingProxyType(
  {
    "none": None,
    "dense": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
  }
)

# Tokens of a batch from which on the last layer is cut to one of each example.
# CLIP ViT-B/32 on a CPU: one image (50 tokens) takes 2.3 times the time with
# it as without, 8 images 1.3 times, 32 images as much.
CUT_FROM_TOKENS = 2048

# Arrays with one row an example.
Rows = dict[str, jax.Array]
# A layer, called as `Block` is.
Layer = TypeVar("Layer", bound=nnx.Module)


class Block(nnx.Module):
  """Transformer layer: attention, then MLP, each normalised first or last."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_width: int,
    *,
    activation: str,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
    dropout: float = 0.0,
    norm_last: bool = False,
  ):
    """Make the parameters; with `norm_last` residuals are normalised (BERT)."""
    norm = functools.partial(
      layers.LayerNorm, width, epsilon=norm_epsilon, dtype=dtype
    )
    self.attn_norm = norm()
    self.attn = layers.Attention(width, num_heads, dtype=dtype, rngs=rngs)
    self.mlp_norm = norm()
    self.mlp = layers.Mlp(
      width, mlp_width, activation=activation, dtype=dtype, rngs=rngs
    )
    self.dropout = dropout
    self.norm_last = norm_last

  def __call__(
    self,
    x_bSD: jax.Array,
    *,
    mask_bHSS: jax.Array | None = None,
    is_causal: bool = False,
    token_b: jax.Array | None = None,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the tokens after this layer.

    Args:
      x_bSD: tokens.
      mask_bHSS: as in `Attention`.
      is_causal: as in `Attention`.
      token_b: int32 positions; only those tokens are computed where given.
      keys_b: one key an example; None leaves dropout out.

    Returns:
      [b, S, D], or [b, 1, D] with `token_b`.
    """
    normed_bSD = x_bSD if self.norm_last else self.attn_norm(x_bSD)
    asking_bSD = normed_bSD
    if token_b is not None:
      asking_bSD, x_bSD = _take(normed_bSD, token_b), _take(x_bSD, token_b)
      if is_causal:
        past_bS = jnp.arange(normed_bSD.shape[1]) <= token_b[:, None]
        past_b11S = past_bS[:, None, None, :]
        mask_bHSS = past_b11S if mask_bHSS is None else mask_bHSS & past_b11S
        is_causal = False
    y_bSD = self.attn(
      asking_bSD, normed_bSD, mask_bHSS=mask_bHSS, is_causal=is_causal
    )
    x_bSD = x_bSD + self._drop(y_bSD, keys_b, 0)
    if self.norm_last:
      x_bSD = self.attn_norm(x_bSD)
      return self.mlp_norm(x_bSD + self._drop(self.mlp(x_bSD), keys_b, 1))
    y_bSD = self.mlp(self.mlp_norm(x_bSD))
    return x_bSD + self._drop(y_bSD, keys_b, 1)

  def _drop(
    self, y_bSD: jax.Array, keys_b: jax.Array | None, index: int
  ) -> jax.Array:
    if keys_b is None or not self.dropout:
      return y_bSD
    return layers.dropout(y_bSD, layers.fold_in(keys_b, index), self.dropout)


def _take(x_bSD: jax.Array, token_b: jax.Array) -> jax.Array:
  """Return [b, 1, D], one token of each example."""
  return jnp.take_along_axis(x_bSD, token_b[:, None, None], axis=1)


def first_token(rows: Rows) -> jax.Array:
  """Return position 0 of each example: a `token_fn` of `encode`."""
  return jnp.zeros((len(jax.tree.leaves(rows)[0]),), jnp.int32)


def make_stack(
  make_block: Callable[[nnx.Rngs], Layer], depth: int, rngs: nnx.Rngs
) -> Layer:
  """Make `depth` layers as one, each parameter with a leading axis [depth]."""
  keys = jax.random.split(rngs.params(), depth)
  return jax.vmap(lambda key: make_block(nnx.Rngs(params=key)))(keys)


def encode(
  rows: Rows,
  keys_b: jax.Array | None = None,
  *,
  stem: Callable[[Rows], jax.Array],
  blocks: nnx.Module,
  head: Callable[[jax.Array, Rows], jax.Array],
  remat: str,
  chunks: int = 1,
  mask_fn: Callable[[Rows], jax.Array | None] = lambda rows: None,
  is_causal: bool = False,
  token_fn: Callable[[Rows], jax.Array] | None = None,
  batch_axes: Sequence[str] = (),
) -> jax.Array:
  """Run a tower: stem, layers, head. Layers compile once, whatever the depth.

  Args:
    rows: what the examples have.
    keys_b: one key an example, "keys" of the rows below; None draws nothing.
    stem: from rows to tokens, [b, S, D].
    blocks: from `make_stack`.
    head: from tokens (and rows) to what is returned.
    remat: what the backward pass computes again; a key of REMATS. With "block"
      stem and head are computed again too.
    chunks: parts that the batch is computed in; used with remat="block". Where
      it does not divide the batch, their greatest common divisor.
    mask_fn: from rows to a mask as in `Attention`.
    is_causal: as in `Attention`.
    token_fn: from rows to positions int32 [b], where the head wants one token
      of each example only. The last layer computes no other, except in small
      batches and with remat="block": all layers but one are a copy of almost
      all parameters, and of their gradient, more time and more memory than
      the work is worth there.
    batch_axes: mesh axes that the batch is split over, and stays split over in
      every layer: where parameters are split over the same axes the compiler
      might else rather move activations than gather parameters. () leaves it
      to the compiler.

  Returns:
    What `head` returns, for the whole batch.
  """
  if keys_b is not None:
    rows = rows | {"keys": keys_b}
  batch_size = len(jax.tree.leaves(rows)[0])
  recomputes = remat == "block"
  chunks = math.gcd(chunks, batch_size) if recomputes else 1
  rows = jax.tree.map(lambda x: _cut(x, chunks), rows)
  apply = functools.partial(_apply, chunks=chunks, batch_axes=batch_axes)
  apply_layer = functools.partial(apply, remat=remat)
  apply_end = functools.partial(apply, remat=remat if recomputes else "none")

  def layer(block: Any, index: Any, x_bSD, rows, token_b=None):
    keys_b = rows.get("keys")  # of the rows at hand, which may be a chunk
    return block(
      x_bSD,
      mask_bHSS=mask_fn(rows),
      is_causal=is_causal,
      token_b=token_b,
      keys_b=None if keys_b is None else layers.fold_in(keys_b, index),
    )

  def body(x, stacked):
    block, index = stacked
    if recomputes:
      block = _cast_late(block, index)
    fn = functools.partial(layer, block, index)
    return apply_layer(fn, x, rows, in_scan=True), None

  if recomputes:
    # Computes no more again than the casts: what is in it keeps its input.
    body = jax.checkpoint(body, prevent_cse=False, policy=REMATS[remat])

  apart = _apart(blocks)

  def run(x, start: int, stop: int):
    """Apply some of the layers."""
    if apart is None:
      some = jax.tree.map(lambda p: p[start:stop], blocks)
      return jax.lax.scan(body, x, (some, jnp.arange(start, stop)))[0]
    for index in range(start, stop):
      x, _ = body(x, (apart[index], index))
    return x

  x = apply_end(stem, rows)
  depth = len(apart or jax.tree.leaves(blocks)[0])
  if token_fn is None:
    x = run(x, 0, depth)
  elif recomputes or (
    apart is None and x.shape[0] * x.shape[1] < CUT_FROM_TOKENS
  ):
    x = run(x, 0, depth)
    x = apply_end(lambda x_bSD, rows: _take(x_bSD, token_fn(rows)), x, rows)
  else:
    x = run(x, 0, depth - 1)
    last = apart[-1] if apart else jax.tree.map(lambda p: p[-1], blocks)

    def last_layer(x_bSD, rows):
      return layer(last, depth - 1, x_bSD, rows, token_fn(rows))

    x = apply_layer(last_layer, x, rows)
  return _join(apply_end(head, x, rows), chunks)


def layers_apart(params: Any) -> Any:
  """Return parameters whose stacked leaves are tuples of the layers' arrays.

  `encode` then has a layer after the other instead of a loop: longer to
  compile, and a small batch is embedded in half the time on a CPU, which copies
  each layer's parameters out of a stack. For one device and no gradient.
  """

  def split(path, x):
    is_stacked = "blocks" in [getattr(key, "key", "") for key in path[:2]]
    return tuple(x[index] for index in range(len(x))) if is_stacked else x

  return jax.tree.map_with_path(split, params)


def _apart(blocks: nnx.Module) -> list[nnx.Module] | None:
  """Return the layers where the parameters are as `layers_apart` makes them."""
  is_tuple = lambda x: isinstance(x, tuple)  # noqa: E731
  first = jax.tree.leaves(blocks, is_leaf=is_tuple)[0]
  if not is_tuple(first):
    return None
  return [
    jax.tree.map(lambda p: p[index], blocks, is_leaf=is_tuple)  # noqa: B023
    for index in range(len(first))
  ]


def _apply(
  fn: Callable[..., jax.Array],
  *args: Any,
  remat: str,
  chunks: int,
  batch_axes: Sequence[str],
  in_scan: bool = False,
) -> jax.Array:
  """Return fn(tokens, rows), chunk by chunk, keeping what `remat` says."""

  def in_place(*args):
    *tokens, rows = args
    tokens = [split_rows(x, batch_axes) for x in tokens]
    return split_rows(fn(*tokens, rows), batch_axes)

  policy = REMATS[remat]
  if policy is not None:
    # Inside a scan nothing can be merged across the recomputation anyway.
    in_place = jax.checkpoint(
      in_place, prevent_cse=not in_scan and chunks == 1, policy=policy
    )
  if chunks == 1:
    return in_place(*args)
  return jax.lax.map(lambda args: in_place(*args), args)


def _cut(x: jax.Array, chunks: int) -> jax.Array:
  """Return [chunks, b / chunks, ...]; a chunk has every chunks-th row.

  So a batch split over devices is cut on each of them, without communication.
  """
  if chunks == 1:
    return x
  return jnp.swapaxes(x.reshape(-1, chunks, *x.shape[1:]), 0, 1)


def _cast_late(block: Layer, index: jax.Array) -> Layer:
  """Return the same parameters, times a 1 that the compiler cannot see through.

  Else XLA:TPU casts the kernels of all layers before the first one and keeps
  them: half of the parameters' memory once more.
  """
  one = jnp.where(index >= 0, 1.0, 0.0)
  return jax.tree.map(lambda p: p * one, block)


def split_rows(x: jax.Array, batch_axes: Sequence[str]) -> jax.Array:
  """Keep an array's rows split over these axes of the mesh, if any."""
  if not batch_axes:
    return x
  return jax.lax.with_sharding_constraint(x, P(tuple(batch_axes)))


def _join(x: jax.Array, chunks: int) -> jax.Array:
  """Undo `_cut`."""
  if chunks == 1:
    return x
  return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
