"""Heads on fused features: masked words, and answers.

Shape letters beside those of models/layers.py: A answers.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers


class WordHead(nnx.Module):
  """Logits of words by BERT's head of masked language modelling.

  Its last map is a table of vectors of words, given with each call: BERT's is
  the table that its tokens are embedded with.
  """

  def __init__(
    self,
    width: int,
    vocab_size: int,
    *,
    activation: str,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    self.dense = layers.Dense(width, width, dtype=dtype, rngs=rngs)
    self.norm = layers.LayerNorm(width, epsilon=norm_epsilon, dtype=dtype)
    self.bias = nnx.Param(jnp.zeros((vocab_size,)))
    self.activation = activation
    self.dtype = dtype

  def __call__(self, x_bLD: jax.Array, table_VD: jax.Array) -> jax.Array:
    """Return the logits of all words at each token, [b, L, V] float32."""
    x_bLD = layers.ACTIVATIONS[self.activation](self.dense(x_bLD))
    logits_bLV = jnp.einsum(
      "bld,vd->blv",
      self.norm(x_bLD),
      table_VD.astype(self.dtype),
      preferred_element_type=jnp.float32,
    )
    return logits_bLV + self.bias[...]


class AnswerHead(nnx.Module):
  """Two affine maps to logits: ClipBERT's with ReLU, METER's with a norm.

  METER's normalises the hidden features and applies GELU.
  """

  def __init__(
    self,
    num_in: int,
    hidden: int,
    num_out: int,
    *,
    norm_epsilon: float | None = None,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters; with `norm_epsilon` the head is METER's."""
    self.up = layers.Dense(num_in, hidden, dtype=dtype, rngs=rngs)
    self.norm = (
      None
      if norm_epsilon is None
      else layers.LayerNorm(hidden, epsilon=norm_epsilon, dtype=dtype)
    )
    self.down = layers.Dense(hidden, num_out, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Return [..., A] float32 of [..., num_in]."""
    x = self.up(x)
    if self.norm is None:
      x = jax.nn.relu(x)
    else:
      x = layers.ACTIVATIONS["gelu"](self.norm(x))
    return self.down(x).astype(jnp.float32)
