"""Attention within windows of a clip, with a temporal side (Video Swin).

Shape letters beside those of models/layers.py: T frames or temporal positions,
W windows of a clip, S tokens of a window.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import layers, windows

_INIT = jax.nn.initializers.truncated_normal(0.02)


class ClipAttention(nnx.Module):
  """Attention within windows of a clip; parameters as windows.WindowAttention.

  Its table has a row for each difference of frames, rows and columns.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    frames: int,
    window: int,
    *,
    mask_padding: bool,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    dense = functools.partial(layers.Dense, width, width, dtype=dtype)
    self.query, self.key = dense(rngs=rngs), dense(rngs=rngs)
    self.value, self.out = dense(rngs=rngs), dense(rngs=rngs)
    shape = ((2 * frames - 1) * (2 * window - 1) ** 2, num_heads)
    self.relative_position = nnx.Param(_INIT(rngs.params(), shape))
    self.num_heads = num_heads
    self.frames = frames
    self.window = window
    self.mask_padding = mask_padding

  def __call__(self, x_bTYXC: jax.Array, *, shifted: bool) -> jax.Array:
    """Attend within windows; `shifted` ones by half of each of their sides."""
    num, height, width = x_bTYXC.shape[1:4]
    frames, time_shift = min(self.frames, num), 0
    if shifted and num > self.frames:
      time_shift = frames // 2
    size, shift = windows.fitted(
      self.window, height, width, self.window // 2 if shifted else 0
    )
    full = [windows.padded(num, frames)]
    full += [windows.padded(side, size) for side in (height, width)]
    pads = zip(full, (num, height, width), strict=True)
    x = jnp.pad(x_bTYXC, ((0, 0), *((0, a - b) for a, b in pads), (0, 0)))
    shifts = (time_shift, shift, shift)
    x = jnp.roll(x, [-s for s in shifts], (1, 2, 3))
    bias = self._bias(
      (num, height, width), frames, size, time_shift=time_shift, shift=shift
    )
    y_bWSC = self.out(self._attend(partition(x, frames, size), bias))
    y = jnp.roll(join(y_bWSC, full, frames, size), shifts, (1, 2, 3))
    return y[:, :num, :height, :width]

  def _bias(
    self,
    sides: tuple[int, int, int],
    frames: int,
    size: int,
    *,
    time_shift: int,
    shift: int,
  ) -> jax.Array:
    """Return the summand of the logits, float32 [W, H, S, S]."""
    within_SS = windows.relative_positions(size, self.window)
    frame = np.arange(frames)
    apart_TT = frame[:, None] - frame + self.frames - 1
    index = (
      apart_TT[:, None, :, None] * (2 * self.window - 1) ** 2
      + within_SS[None, :, None, :]
    ).reshape(frames * size**2, -1)
    bias_SSH = jnp.take(self.relative_position[...], index, axis=0)
    bias_1HSS = bias_SSH.transpose(2, 0, 1)[None]
    region_WS = regions(
      *sides,
      frames=frames,
      size=size,
      time_shift=time_shift,
      shift=shift,
      mask_padding=self.mask_padding,
    )
    mask_W1SS = (region_WS[:, :, None] == region_WS[:, None])[:, None]
    return jnp.where(mask_W1SS, bias_1HSS, jnp.finfo(jnp.float32).min)

  def _attend(self, x_bWSC: jax.Array, bias_WHSS: jax.Array) -> jax.Array:
    query, key, value = (
      dense(x_bWSC)
      .reshape(*x_bWSC.shape[:3], self.num_heads, -1)
      .swapaxes(2, 3)
      for dense in (self.query, self.key, self.value)
    )
    logits = jnp.einsum(
      "bwhqk,bwhsk->bwhqs", query, key, preferred_element_type=jnp.float32
    )
    logits = logits * query.shape[-1] ** -0.5 + bias_WHSS
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    y = jnp.einsum("bwhqs,bwhsk->bwhqk", weights, value)
    return y.swapaxes(2, 3).reshape(x_bWSC.shape)


def partition(x_bTYXC: jax.Array, frames: int, size: int) -> jax.Array:
  """Cut a clip into windows [b, W, frames * size * size, C]; sides must fit."""
  b, num, height, width, channels = x_bTYXC.shape
  x = x_bTYXC.reshape(
    *(b, num // frames, frames, height // size, size, width // size, size),
    channels,
  )
  x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return x.reshape(b, -1, frames * size**2, channels)


def join(
  x_bWSC: jax.Array, sides: list[int], frames: int, size: int
) -> jax.Array:
  """Return the clip, [b, *sides, C], that `partition` cut."""
  num, height, width = sides
  b, channels = len(x_bWSC), x_bWSC.shape[-1]
  x = x_bWSC.reshape(
    *(b, num // frames, height // size, width // size, frames, size, size),
    channels,
  )
  return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, *sides, channels)


def regions(
  num: int,
  height: int,
  width: int,
  *,
  frames: int,
  size: int,
  time_shift: int,
  shift: int,
  mask_padding: bool,
) -> np.ndarray:
  """Return a number for each token, [W, S]: equal ones attend to each other.

  As windows.regions, with frames from both ends of a clip, and frames that fill
  up a window, apart from the others.
  """
  total = windows.padded(num, frames)
  frame = np.arange(total)
  before = (frame + time_shift) % total
  time = np.where(before >= num, -1, before < frame).reshape(-1, frames)
  grid_WS = windows.regions(
    height, width, size, shift, mask_padding=mask_padding
  )
  numbers = (time[:, None, :, None] + 1) * 8 + grid_WS[None, :, None, :] + 1
  return numbers.reshape(-1, frames * size**2)
