"""Attention within windows of a grid of tokens (Swin, arXiv 2103.14030).

Shape letters beside those of layers.py: W windows of an image, row by row; S
tokens of a window; T relative positions of two tokens of a window.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import layers

# Initial values of tables of relative positions (Swin's released code).
_INIT = jax.nn.initializers.truncated_normal(0.02)


def partition(x_bYXC: jax.Array, size: int) -> jax.Array:
  """Cut a grid into windows, [b, W, size * size, C], row by row.

  Args:
    x_bYXC: grid of tokens, both sides multiples of `size`.
    size: side of a window.
  """
  b, height, width, channels = x_bYXC.shape
  x = x_bYXC.reshape(
    b, height // size, size, width // size, size, channels
  ).swapaxes(2, 3)
  return x.reshape(b, -1, size * size, channels)


def join(x_bWSC: jax.Array, height: int, width: int) -> jax.Array:
  """Return the grid [b, height, width, C] that `partition` cut."""
  b, _, count, channels = x_bWSC.shape
  size = round(count**0.5)
  x = x_bWSC.reshape(b, height // size, width // size, size, size, channels)
  return x.swapaxes(2, 3).reshape(b, height, width, channels)


def fitted(window: int, height: int, width: int, shift: int) -> tuple[int, int]:
  """Return the side of the windows of a grid, and their shift.

  A grid whose shorter side is at most `window` has windows of that side, and no
  shift, as in Swin's released code.
  """
  shorter = min(height, width)
  return (shorter, 0) if shorter <= window else (window, shift)


def regions(
  height: int, width: int, size: int, shift: int, *, mask_padding: bool
) -> np.ndarray:
  """Return a number for each token, [W, S]: equal ones attend to each other.

  The grid is padded below and at the right to multiples of `size`, then rolled
  up and to the left by `shift`. The last windows of a row or column then have
  tokens from both ends of the grid, which are no neighbours.

  Args:
    height: rows of the grid.
    width: columns of the grid.
    size: side of a window.
    shift: rows and columns that the windows are shifted by, below `size`.
    mask_padding: whether padding has a number of its own, -1.
  """
  rows, columns = padded(height, size), padded(width, size)
  y, x = np.mgrid[:rows, :columns]
  # Positions before the roll.
  y_before, x_before = (y + shift) % rows, (x + shift) % columns
  numbers = 2 * (y_before < y) + (x_before < x)
  if mask_padding:
    is_padding = (y_before >= height) | (x_before >= width)
    numbers = np.where(is_padding, -1, numbers)
  cut = numbers.reshape(rows // size, size, columns // size, size)
  return cut.swapaxes(1, 2).reshape(-1, size * size)


def padded(side: int, size: int) -> int:
  """Return the least multiple of `size` that is at least `side`."""
  return -(-side // size) * size


def relative_positions(size: int, window: int) -> np.ndarray:
  """Return rows [S, S] of a window's table of relative positions.

  The table [T, H] has a row for each difference of a query's position less a
  key's, of -(window - 1) to window - 1 rows, and as many columns.

  Args:
    size: side of the windows in use, at most `window`.
    window: side of the windows that the table is made for.
  """
  offset, side = window - 1, 2 * window - 1
  y, x = (axis.ravel() for axis in np.mgrid[:size, :size])
  rows = y[:, None] - y + offset
  columns = x[:, None] - x + offset
  return rows * side + columns


class WindowAttention(nnx.Module):
  """Multi-head attention of the tokens of each window, with a learned bias.

  Logits get a summand for each head and relative position. The kernels are
  named as in layers.Attention, so that the same rules split them.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    window: int,
    *,
    mask_padding: bool,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters.

    Args:
      width: channels of a token.
      num_heads: heads, a divisor of `width`.
      window: side of a window in tokens.
      mask_padding: whether tokens ignore the padding of a grid that windows do
        not divide. False as in transformers, where padding has zeros before the
        kernels.
      dtype: type of the arithmetic.
      rngs: source of the initial values.
    """
    dense = functools.partial(layers.Dense, width, width, dtype=dtype)
    self.query, self.key = dense(rngs=rngs), dense(rngs=rngs)
    self.value, self.out = dense(rngs=rngs), dense(rngs=rngs)
    shape = ((2 * window - 1) ** 2, num_heads)
    self.relative_position = nnx.Param(_INIT(rngs.params(), shape))
    self.num_heads = num_heads
    self.window = window
    self.mask_padding = mask_padding

  def __call__(
    self,
    x_bYXC: jax.Array,
    *,
    shift: int = 0,
    is_shifted: jax.Array | None = None,
  ) -> jax.Array:
    """Attend within windows.

    Args:
      x_bYXC: tokens, of any number of rows and columns.
      shift: rows and columns that the windows are shifted by, below `window`.
      is_shifted: whether they are shifted, a bool that may be traced, so that
        one program serves both; None: they are.

    Returns:
      An array with the shape of x_bYXC.
    """
    b, height, width, channels = x_bYXC.shape
    size, shift = fitted(self.window, height, width, shift)
    rows, columns = padded(height, size), padded(width, size)
    is_padded = (rows, columns) != (height, width)
    x = x_bYXC
    if is_padded:
      pads = ((0, 0), (0, rows - height), (0, columns - width), (0, 0))
      x = jnp.pad(x, pads)
    x_bWSC = partition(_rolled(x, -shift, is_shifted), size)
    bias_WHSS = self._bias(height, width, size, shift, is_shifted)
    y = join(self.out(self._attend(x_bWSC, bias_WHSS)), rows, columns)
    y = _rolled(y, shift, is_shifted)
    return y[:, :height, :width] if is_padded else y

  def _bias(
    self,
    height: int,
    width: int,
    size: int,
    shift: int,
    is_shifted: jax.Array | None,
  ) -> jax.Array:
    """Return the summand of the logits, float32 [W, H, S, S], W 1 if equal."""
    index_SS = relative_positions(size, self.window)
    bias_SSH = jnp.take(self.relative_position[...], index_SS, axis=0)
    bias_1HSS = bias_SSH.transpose(2, 0, 1)[None]
    numbers = functools.partial(
      regions, height, width, size, mask_padding=self.mask_padding
    )
    region_WS = numbers(shift)
    if np.ptp(region_WS) == 0:
      return bias_1HSS
    if shift and is_shifted is not None:
      region_WS = jnp.where(is_shifted, region_WS, numbers(0))
    mask_W1SS = (region_WS[:, :, None] == region_WS[:, None])[:, None]
    return jnp.where(mask_W1SS, bias_1HSS, jnp.finfo(jnp.float32).min)

  def _attend(self, x_bWSC: jax.Array, bias_WHSS: jax.Array) -> jax.Array:
    query, key, value = (
      self._split_heads(dense(x_bWSC))
      for dense in (self.query, self.key, self.value)
    )
    logits_bWHSS = jnp.einsum(
      "bwhqk,bwhsk->bwhqs", query, key, preferred_element_type=jnp.float32
    )
    logits_bWHSS = logits_bWHSS * query.shape[-1] ** -0.5 + bias_WHSS
    weights_bWHSS = jax.nn.softmax(logits_bWHSS, axis=-1).astype(value.dtype)
    y_bWHSK = jnp.einsum("bwhqs,bwhsk->bwhqk", weights_bWHSS, value)
    return y_bWHSK.swapaxes(2, 3).reshape(x_bWSC.shape)

  def _split_heads(self, x_bWSC: jax.Array) -> jax.Array:
    x_bWSHK = x_bWSC.reshape(*x_bWSC.shape[:3], self.num_heads, -1)
    return x_bWSHK.swapaxes(2, 3)


def _rolled(
  x_bYXC: jax.Array, shift: int, is_shifted: jax.Array | None
) -> jax.Array:
  """Return a grid, rolled down and to the right if it is shifted."""
  if not shift:
    return x_bYXC

  def roll(x_bYXC):
    return jnp.roll(x_bYXC, (shift, shift), (1, 2))

  if is_shifted is None:
    return roll(x_bYXC)
  return jax.lax.cond(is_shifted, roll, lambda x_bYXC: x_bYXC, x_bYXC)
