"""Transformer layers, stacked and scanned, with rematerialisation.

Two arguments bound a tower's memory: `remat` chooses the activations that a
layer saves for its backward pass, and `chunks` cuts the batch into parts while
a layer is computed and recomputed, so that only the layers' inputs exist for
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

# Activations that a layer saves for its backward pass. "none": all that it
# reads. "dense": outputs of the affine maps; norms, activations and attention
# weights are recomputed, which costs less than to store and load them. "block":
# the layer's input only; all else is recomputed.
REMATS: Mapping[str, Any] = types.MappingProxyType(
  {
    "none": None,
    "dense": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
  }
)

# Fewest tokens of a batch for which the last layer computes only one token of
# each example. CLIP ViT-B/32 on a CPU: one image (50 tokens) takes 2.3 times
# the time with this cut as without, 8 images 1.3 times, 32 images as much.
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
      token_b: int32 position in each example of the only token to compute; None
        computes all.
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
  return jnp.zeros(jax.tree.leaves(rows)[0].shape[:1], jnp.int32)


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
  head: Callable[[jax.Array, Rows], Any],
  remat: str,
  chunks: int = 1,
  mask_fn: Callable[[Rows], jax.Array | None] = lambda rows: None,
  is_causal: bool = False,
  token_fn: Callable[[Rows], jax.Array] | None = None,
  extras_fn: Callable[[Rows], Mapping[str, Any]] = lambda rows: {},
  batch_axes: Sequence[str] = (),
) -> Any:
  """Run a tower: stem, layers, head. Layers compile once, whatever the depth.

  Args:
    rows: arrays of the examples, passed to `stem`, `head` and the functions.
    keys_b: one random key an example, added to the rows as "keys"; None draws
      nothing.
    stem: function from rows to tokens, [b, S, D].
    blocks: layers from `make_stack`.
    head: function from tokens and rows to the result, an array or a pytree of
      arrays with one row an example each.
    remat: a key of REMATS. With "block", stem and head are recomputed too.
    chunks: number of parts that the batch is cut into; used with remat="block".
      If it does not divide the batch, the greatest common divisor is used.
    mask_fn: function from rows to a mask as in `Attention`.
    is_causal: as in `Attention`.
    token_fn: function from rows to positions int32 [b], for a head that uses
      one token of each example. The last layer then computes no other, except
      in small batches and with remat="block": to run all layers but the last
      copies almost all parameters, and their gradient, which there costs more
      time and memory than the cut saves.
    extras_fn: function from rows to further arguments of each layer, by name,
      such as tokens of an image.
    batch_axes: mesh axes that the batch is split over, and stays split over in
      every layer: for parameters that are split over the same axes the
      compiler might otherwise move activations instead of gathering
      parameters. () leaves it to the compiler.

  Returns:
    The result of `head` for the whole batch.
  """
  if keys_b is not None:
    rows = rows | {"keys": keys_b}
  batch_size = jax.tree.leaves(rows)[0].shape[0]
  recomputes = remat == "block"
  chunks = math.gcd(chunks, batch_size) if recomputes else 1
  rows = jax.tree.map(lambda x: _cut(x, chunks), rows)
  apply = functools.partial(_apply, chunks=chunks, batch_axes=batch_axes)
  apply_layer = functools.partial(apply, remat=remat)
  apply_end = functools.partial(apply, remat=remat if recomputes else "none")

  def layer(block: Any, index: Any, x_bSD, rows, token_b=None):
    keys_b = rows.get("keys")  # keys of these rows, which may be one chunk
    return block(
      x_bSD,
      mask_bHSS=mask_fn(rows),
      is_causal=is_causal,
      token_b=token_b,
      keys_b=None if keys_b is None else layers.fold_in(keys_b, index),
      **extras_fn(rows),
    )

  def body(x, stacked):
    block, index = stacked
    if recomputes:
      block = _cast_late(block, index)
    fn = functools.partial(layer, block, index)
    return apply_layer(fn, x, rows, in_scan=True), None

  if recomputes:
    # This outer checkpoint recomputes only the casts of `_cast_late`; the layer
    # inside is already a checkpoint that saves its own input.
    body = jax.checkpoint(body, prevent_cse=False, policy=REMATS[remat])

  apart = apart_of(blocks)

  def run(x, start: int, stop: int):
    """Apply the layers from index `start` to `stop`, exclusive."""
    if apart is None:
      layers_between = jax.tree.map(lambda p: p[start:stop], blocks)
      return jax.lax.scan(body, x, (layers_between, jnp.arange(start, stop)))[0]
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
  return jax.tree.map(lambda x: _join(x, chunks), apply_end(head, x, rows))


def layers_apart(params: Any) -> Any:
  """Return parameters whose stacked leaves are tuples of the layers' arrays.

  `encode` then unrolls the layers instead of scanning over them: it takes
  longer to compile, and embeds a small batch on a CPU in half the time, since
  a scan there copies each layer's parameters out of the stack. Use it on one
  device and without a gradient.
  """

  def split(path, x):
    is_stacked = "blocks" in [getattr(key, "key", "") for key in path[:2]]
    return tuple(x[index] for index in range(len(x))) if is_stacked else x

  return jax.tree.map_with_path(split, params)


def apart_of(blocks: Layer) -> list[Layer] | None:
  """Return the layers of parameters from `layers_apart`; None for a stack."""
  is_tuple = lambda x: isinstance(x, tuple)  # noqa: E731
  first = jax.tree.leaves(blocks, is_leaf=is_tuple)[0]
  if not is_tuple(first):
    return None
  return [
    jax.tree.map(lambda p: p[index], blocks, is_leaf=is_tuple)  # noqa: B023
    for index in range(len(first))
  ]


def _apply(
  fn: Callable[..., Any],
  *args: Any,
  remat: str,
  chunks: int,
  batch_axes: Sequence[str],
  in_scan: bool = False,
) -> Any:
  """Return fn(tokens, rows), chunk by chunk, checkpointed as `remat` says."""

  def in_place(*args):
    *tokens, rows = args
    tokens = [split_rows(x, batch_axes) for x in tokens]
    made = fn(*tokens, rows)
    return jax.tree.map(lambda x: split_rows(x, batch_axes), made)

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

  A batch split over devices is thus cut on each of them, without communication.
  """
  if chunks == 1:
    return x
  return jnp.swapaxes(x.reshape(-1, chunks, *x.shape[1:]), 0, 1)


def _cast_late(block: Layer, index: jax.Array) -> Layer:
  """Return the parameters times a 1 that the compiler cannot fold away.

  Without it, XLA:TPU casts the kernels of all layers before the first layer and
  keeps the copies: half of the parameters' memory once more.
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
