"""Recurrent question encoders, GRU and LSTM, in PyTorch's equations.

Kernels are PyTorch's transposed, [in, gates * width], with its order of gates:
reset, update, new (GRU) and input, forget, cell, output (LSTM). Both biases are
kept: in a GRU the reset gate multiplies one of them.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from models.vqa import weight_norm

# Name -> number of gates.
GATES: Mapping[str, int] = {"gru": 3, "lstm": 4}


class Recurrent(nnx.Module):
  """One layer, from first to last token, that starts with zeros."""

  def __init__(self, kind: str, num_in: int, width: int, *, rngs: nnx.Rngs):
    columns = GATES[kind] * width

    def param(*shape: int) -> nnx.Param:
      return nnx.Param(weight_norm.torch_uniform(rngs.params(), shape, width))

    self.input_kernel = param(num_in, columns)
    self.input_bias = param(columns)
    self.hidden_kernel = param(width, columns)
    self.hidden_bias = param(columns)
    self.kind = kind
    self.width = width

  def __call__(self, x_bLD: jax.Array) -> jax.Array:
    """Return the hidden state after each token, [b, L, width] float32."""
    x_bLD = x_bLD.astype(jnp.float32)
    in_bLG = jnp.dot(x_bLD, self.input_kernel[...]) + self.input_bias[...]
    zero_bD = jnp.zeros((len(x_bLD), self.width), jnp.float32)
    step = _gru if self.kind == "gru" else _lstm

    def body(carry, in_bG):
      hidden_bG = jnp.dot(carry[0], self.hidden_kernel[...])
      carry = step(carry, in_bG, hidden_bG + self.hidden_bias[...])
      return carry, carry[0]

    _, h_LbD = jax.lax.scan(body, (zero_bD, zero_bD), in_bLG.swapaxes(0, 1))
    return h_LbD.swapaxes(0, 1)


def _gru(carry, in_bG, hidden_bG):
  h_bD, unused_bD = carry
  in_reset, in_update, in_new = jnp.split(in_bG, 3, axis=-1)
  reset, update, new = jnp.split(hidden_bG, 3, axis=-1)
  update_bD = jax.nn.sigmoid(in_update + update)
  new_bD = jnp.tanh(in_new + jax.nn.sigmoid(in_reset + reset) * new)
  return (1 - update_bD) * new_bD + update_bD * h_bD, unused_bD


def _lstm(carry, in_bG, hidden_bG):
  _, cell_bD = carry
  gate_in, forget, cell, out = jnp.split(in_bG + hidden_bG, 4, axis=-1)
  cell_bD = jax.nn.sigmoid(forget) * cell_bD
  cell_bD += jax.nn.sigmoid(gate_in) * jnp.tanh(cell)
  return jax.nn.sigmoid(out) * jnp.tanh(cell_bD), cell_bD
