"""Dynamic Head (arXiv 2106.08322): attention over scale, space and task.

A block sees a pyramid as levels, positions and channels. Space: each level is
read by a modulated deformable convolution at itself, at the finer level and at
the coarser one, all at places that the level predicts from itself. Scale: a
weighted mean of the three, each weight of its global mean. Task: a dynamic ReLU
(arXiv 2003.10027) of the channels.

Constants are those of the released code; where it is not followed, that is said
beside the line.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from models import convolution
from models.detecting import deformable

NUM_GROUPS = 16
_EPSILON = 1e-5
# Channels of the dynamic ReLU's hidden layer: a quarter.
_SQUEEZE = 4
_INIT = jax.nn.initializers.normal(0.01)


def hard_sigmoid(x: jax.Array) -> jax.Array:
  """Return relu6(x + 3) / 6."""
  return jax.nn.relu6(x + 3) / 6


class GroupNorm(nnx.Module):
  """Normalise groups of channels over an image; mean, variance in float32."""

  def __init__(self, width: int, *, dtype: str):
    self.scale = nnx.Param(jnp.ones((width,)))
    self.bias = nnx.Param(jnp.zeros((width,)))
    self.dtype = dtype

  def __call__(self, x_bYXC: jax.Array) -> jax.Array:
    grouped = x_bYXC.astype(jnp.float32).reshape(
      *x_bYXC.shape[:-1], NUM_GROUPS, -1
    )
    axes = (1, 2, 4)
    mean = jnp.mean(grouped, axes, keepdims=True)
    variance = jnp.var(grouped, axes, keepdims=True)
    grouped = (grouped - mean) * jax.lax.rsqrt(variance + _EPSILON)
    y_bYXC = grouped.reshape(x_bYXC.shape) * self.scale[...] + self.bias[...]
    return y_bYXC.astype(self.dtype)


class DynamicRelu(nnx.Module):
  """Larger of two lines of each channel, chosen by the image's mean."""

  def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs):
    inner = max(width // _SQUEEZE, 1)
    dense = functools.partial(
      convolution.Conv, size=1, use_bias=True, dtype=dtype, rngs=rngs
    )
    self.down = dense(width, inner)
    # Zeros: an ordinary ReLU at first (ours; the code draws PyTorch's default).
    self.up = dense(inner, 4 * width, init=jax.nn.initializers.zeros)
    self.dtype = dtype

  def __call__(self, x_bYXC: jax.Array) -> jax.Array:
    mean_b11C = _global_mean(x_bYXC)
    share = hard_sigmoid(self.up(jax.nn.relu(self.down(mean_b11C))))
    a1, b1, a2, b2 = jnp.split(share - 0.5, 4, axis=-1)
    return jnp.maximum(x_bYXC * (2 * a1 + 1) + b1, x_bYXC * (2 * a2) + b2)


class Block(nnx.Module):
  """One block of the three attentions; the levels keep their shapes."""

  def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs):
    taps = deformable.NUM_TAPS
    conv = functools.partial(
      convolution.Conv, use_bias=True, dtype=dtype, rngs=rngs
    )
    # Offsets 0 and masks 1/2 at first, as in the paper of deformable
    # convolutions.
    zeros = jax.nn.initializers.zeros
    self.places = conv(width, 3 * taps, 3, init=zeros)
    deform = functools.partial(
      deformable.DeformableConv,
      width,
      width,
      init=_INIT,
      dtype=dtype,
      rngs=rngs,
    )
    self.same, self.finer, self.coarser = deform(), deform(stride=2), deform()
    norm = functools.partial(GroupNorm, width, dtype=dtype)
    self.same_norm, self.finer_norm, self.coarser_norm = norm(), norm(), norm()
    self.scale = conv(width, 1, 1, init=_INIT)
    self.task = DynamicRelu(width, dtype=dtype, rngs=rngs)

  def __call__(self, levels: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the levels, finest first, [b, Y, X, C] each."""
    return [self._level(levels, index) for index in range(len(levels))]

  def _level(self, levels: Sequence[jax.Array], index: int) -> jax.Array:
    x_bYXC = levels[index]
    offset, mask = self._places(x_bYXC)
    seen = [self.same_norm(self.same(x_bYXC, offset, mask))]
    if index:
      finer = self.finer(levels[index - 1], offset, mask)
      seen.append(self.finer_norm(finer))
    if index + 1 < len(levels):
      # Places of every second position, whose number is the coarser level's
      # (ours: the released code reads the larger map as if it were smaller).
      coarser = self.coarser(
        levels[index + 1], offset[:, ::2, ::2], mask[:, ::2, ::2]
      )
      coarser = self.coarser_norm(coarser)
      seen.append(jax.image.resize(coarser, x_bYXC.shape, "bilinear"))
    weighted = [
      y * hard_sigmoid(jax.nn.relu(self.scale(_global_mean(y)))) for y in seen
    ]
    return self.task(sum(weighted[1:], weighted[0]) / len(weighted))

  def _places(self, x_bYXC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return offsets [b, Y, X, T, 2] and masks [b, Y, X, T] of a level."""
    made = self.places(x_bYXC).astype(jnp.float32)
    taps = deformable.NUM_TAPS
    offset = made[..., : 2 * taps].reshape(*made.shape[:3], taps, 2)
    return offset, jax.nn.sigmoid(made[..., 2 * taps :])


def _global_mean(x_bYXC: jax.Array) -> jax.Array:
  """Return the mean over positions, [b, 1, 1, C]."""
  return jnp.mean(x_bYXC, axis=(1, 2), keepdims=True)
