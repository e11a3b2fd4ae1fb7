"""Modulated deformable 3 x 3 convolution by gathers (arXiv 1811.11168).

Each of the 9 taps of a convolution looks at its place moved by an offset of a
fraction of pixels, and is multiplied by a mask; pixels outside of the image are
0. A value between pixels is a mean of 4, weighted bilinearly: four gathers,
without a kernel of our own. That is slow on a TPU, and exact.

Shape letters beside those of models/layers.py: T taps, row by row.
"""

import jax
import jax.numpy as jnp
from flax import nnx

SIZE = 3
NUM_TAPS = SIZE * SIZE


def sample(
  x_bYXC: jax.Array, row_bYXT: jax.Array, column_bYXT: jax.Array
) -> jax.Array:
  """Return values at fractional places, bilinearly, [b, Y, X, T, C].

  Args:
    x_bYXC: images of any size.
    row_bYXT: float32 rows of the places; 0 is the centre of the first pixel.
    column_bYXT: float32 columns likewise.
  """
  b, height, width, channels = x_bYXC.shape
  pixels_bNC = x_bYXC.reshape(b, height * width, channels)
  # Farther places see zeros all the same, and int32 holds these.
  row = jnp.clip(row_bYXT, -1, height)
  column = jnp.clip(column_bYXT, -1, width)
  top, left = jnp.floor(row), jnp.floor(column)
  total = jnp.zeros((), x_bYXC.dtype)
  for y, weight_y in ((top, 1 - (row - top)), (top + 1, row - top)):
    for x, weight_x in ((left, 1 - (column - left)), (left + 1, column - left)):
      is_inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
      weight = jnp.where(is_inside, weight_y * weight_x, 0)
      index = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
      index_bN1 = index.astype(jnp.int32).reshape(b, -1, 1)
      value_bNC = jnp.take_along_axis(pixels_bNC, index_bN1, axis=1)
      value = value_bNC.reshape(*index.shape, channels)
      total = total + value * weight[..., None].astype(value.dtype)
  return total


def places(offset_bYXT2: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
  """Return the rows and columns that taps look at, each [b, Y, X, T] float32.

  Args:
    offset_bYXT2: moves of each tap, rows and columns, in pixels of the input.
    stride: pixels of the input between neighbours of the output.
  """
  height, width = offset_bYXT2.shape[1:3]
  tap = jnp.arange(SIZE, dtype=jnp.float32) - SIZE // 2
  tap_rows, tap_columns = jnp.repeat(tap, SIZE), jnp.tile(tap, SIZE)
  rows = jnp.arange(height, dtype=jnp.float32)[:, None, None] * stride
  columns = jnp.arange(width, dtype=jnp.float32)[None, :, None] * stride
  offset = offset_bYXT2.astype(jnp.float32)
  return (
    offset[..., 0] + rows + tap_rows,
    offset[..., 1] + columns + tap_columns,
  )


class DeformableConv(nnx.Module):
  """Convolution whose taps are moved and weighted at each position.

  With offsets 0 and masks 1 it is an ordinary convolution, padded by 1.
  """

  def __init__(
    self,
    num_in: int,
    num_out: int,
    *,
    stride: int = 1,
    init: nnx.initializers.Initializer,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    shape = (SIZE, SIZE, num_in, num_out)
    self.kernel = nnx.Param(init(rngs.params(), shape))
    self.bias = nnx.Param(jnp.zeros((num_out,)))
    self.stride = stride
    self.dtype = dtype

  def __call__(
    self, x_bYXC: jax.Array, offset_bYXT2: jax.Array, mask_bYXT: jax.Array
  ) -> jax.Array:
    """Return [b, Y, X, num_out], Y and X those of offsets and masks."""
    row, column = places(offset_bYXT2, self.stride)
    seen_bYXTC = sample(x_bYXC.astype(self.dtype), row, column)
    seen_bYXTC = seen_bYXTC * mask_bYXT[..., None].astype(self.dtype)
    b, height, width, taps, channels = seen_bYXTC.shape
    kernel = self.kernel[...].astype(self.dtype).reshape(taps * channels, -1)
    y = seen_bYXTC.reshape(-1, taps * channels) @ kernel
    y = y + self.bias[...].astype(self.dtype)
    return y.reshape(b, height, width, -1)
