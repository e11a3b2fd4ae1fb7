"""Affine maps whose weights are a length times a direction.

Source: weight normalisation (arXiv 1602.07868) with one length for the whole
matrix, as BAN has it (arXiv 1805.07932; released code: dim=None).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers


def torch_uniform(key: jax.Array, shape: tuple[int, ...], fan: int):
  """Return numbers within 1 / sqrt(fan), PyTorch's default for affine maps."""
  return jax.random.uniform(key, shape, minval=-1, maxval=1) / fan**0.5


def scaled(kernel: jax.Array, length: jax.Array) -> jax.Array:
  """Return the kernel with another Frobenius norm, `length`, which may be < 0.

  >>> scaled(jnp.array([[3.0, 4.0]]), jnp.array(10.0)).tolist()
  [[6.0, 8.0]]
  """
  return kernel * (length / jnp.linalg.norm(kernel.ravel()))


class WeightNormDense(nnx.Module):
  """Affine map of the last axis; float32."""

  def __init__(self, num_in: int, num_out: int, *, rngs: nnx.Rngs):
    kernel = torch_uniform(rngs.params(), (num_in, num_out), num_in)
    self.kernel = nnx.Param(kernel)
    self.length = nnx.Param(jnp.linalg.norm(kernel.ravel()))
    self.bias = nnx.Param(torch_uniform(rngs.params(), (num_out,), num_in))

  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = scaled(self.kernel[...], self.length[...])
    return jnp.dot(x.astype(jnp.float32), kernel) + self.bias[...]


class Dropped(nnx.Module):
  """Dropout, then a weight-normalised affine map, then a ReLU or nothing."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    *,
    dropout: float,
    relu: bool = True,
    rngs: nnx.Rngs,
  ):
    self.dense = WeightNormDense(num_in, num_out, rngs=rngs)
    self.dropout = dropout
    self.relu = relu

  def __call__(
    self, x: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return [b, ..., num_out]; nothing is dropped without keys."""
    if keys_b is not None:
      x = layers.dropout(x, keys_b, self.dropout)
    y = self.dense(x)
    return jax.nn.relu(y) if self.relu else y


class Classifier(nnx.Module):
  """Map from features to logits, with one hidden layer twice as wide.

  Source: MEVF and QCR (released code): ReLU, dropout 0.5 before the last map.
  """

  def __init__(self, width: int, num_answers: int, *, rngs: nnx.Rngs):
    self.hidden = Dropped(width, 2 * width, dropout=0.0, rngs=rngs)
    self.out = Dropped(
      2 * width, num_answers, dropout=0.5, relu=False, rngs=rngs
    )

  def __call__(
    self, x_bD: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return logits [b, num_answers]."""
    return self.out(self.hidden(x_bD), keys_b)
