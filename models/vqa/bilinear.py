"""Bilinear attention networks (BAN, arXiv 1805.07932).

Letters beside those of models/layers.py: G glimpses, R = rank * D, O visual
objects (PubMedCLIP has one), U width of an object.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack
from models.vqa import weight_norm

# Dropout before each map, and of the objects in the attention (released code).
_MAPS, _ATTENTION = 0.2, 0.5


class BilinearAttention(nnx.Module):
  """Glimpses: softmax over all pairs of an object and a token, jointly.

  The logit of glimpse g is h_g . (relu(V v) * relu(Q q)) + bias_g, with all h
  weight-normalised as one tensor.
  """

  def __init__(
    self, num_in: int, width: int, glimpses: int, rank: int, rngs: nnx.Rngs
  ):
    columns = rank * width
    maps = {"dropout": _MAPS, "rngs": rngs}
    self.objects = weight_norm.Dropped(num_in, columns, **maps)
    self.tokens = weight_norm.Dropped(width, columns, **maps)
    kernel = jax.random.normal(rngs.params(), (glimpses, columns))
    self.kernel = nnx.Param(kernel)
    self.length = nnx.Param(jnp.linalg.norm(kernel.ravel()))
    self.bias = nnx.Param(jax.random.normal(rngs.params(), (glimpses,)))

  def __call__(
    self,
    v_bOU: jax.Array,
    q_bLD: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return attention [b, G, O, L], each glimpse of sum 1."""
    v_bOR = self.objects(v_bOU, _fold(keys_b, 0))
    q_bLR = self.tokens(q_bLD, _fold(keys_b, 1))
    if keys_b is not None:
      v_bOR = layers.dropout(v_bOR, layers.fold_in(keys_b, 2), _ATTENTION)
    kernel_GR = weight_norm.scaled(self.kernel[...], self.length[...])
    logits_bGOL = jnp.einsum("bor,gr,blr->bgol", v_bOR, kernel_GR, q_bLR)
    logits_bGOL += self.bias[...][:, None, None]
    return jax.nn.softmax(logits_bGOL, axis=(2, 3))


class Glimpse(nnx.Module):
  """Residual step: the pairs' products, weighted, mapped, added to tokens."""

  def __init__(self, num_in: int, width: int, rngs: nnx.Rngs):
    maps = {"dropout": _MAPS, "rngs": rngs}
    self.objects = weight_norm.Dropped(num_in, width, **maps)
    self.tokens = weight_norm.Dropped(width, width, **maps)
    self.out = weight_norm.Dropped(width, width, relu=False, **maps)

  def __call__(
    self,
    v_bOU: jax.Array,
    q_bLD: jax.Array,
    attention_bOL: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the tokens after the step, [b, L, D]."""
    v_bOD = self.objects(v_bOU, _fold(keys_b, 0))
    tokens_bLD = self.tokens(q_bLD, _fold(keys_b, 1))
    joint_bD = jnp.einsum("bod,bol,bld->bd", v_bOD, attention_bOL, tokens_bLD)
    return q_bLD + self.out(joint_bD, _fold(keys_b, 2))[:, None]


class Bilinear(nnx.Module):
  """Attention and its residual steps, one a glimpse; the sum of the tokens."""

  def __init__(
    self,
    num_in: int,
    width: int,
    *,
    glimpses: int,
    rank: int,
    rngs: nnx.Rngs,
  ):
    self.attention = BilinearAttention(num_in, width, glimpses, rank, rngs)
    self.glimpses = stack.make_stack(
      lambda rngs: Glimpse(num_in, width, rngs), glimpses, rngs
    )

  def __call__(
    self,
    v_bOU: jax.Array,
    q_bLD: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return [b, D] float32 of objects and tokens.

    Args:
      v_bOU: visual objects.
      q_bLD: tokens of the question.
      keys_b: one random key an example, for dropout; None in evaluation.
    """
    v_bOU = v_bOU.astype(jnp.float32)
    # The glimpses' numbers come first: no glimpse has the attention's.
    attention_bGOL = self.attention(v_bOU, q_bLD, _fold(keys_b, 0))

    def body(q_bLD, stacked):
      glimpse, attention_bOL, index = stacked
      keys = _fold(keys_b, index + 1)
      return glimpse(v_bOU, q_bLD, attention_bOL, keys), None

    attention_GbOL = attention_bGOL.swapaxes(0, 1)
    indices = jnp.arange(len(attention_GbOL))
    q_bLD, _ = jax.lax.scan(
      body, q_bLD, (self.glimpses, attention_GbOL, indices)
    )
    return jnp.sum(q_bLD, axis=1)


def _fold(keys_b: jax.Array | None, value: int | jax.Array):
  return None if keys_b is None else layers.fold_in(keys_b, value)
