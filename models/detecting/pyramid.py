"""Feature pyramid (FPN, arXiv 1612.03144): levels p3 to p7 of one width.

The tower's stages of strides 8, 16 and 32 are mapped to one width and added
from coarse to fine; p6 and p7 are made of p5 by strided convolutions, as in
RetinaNet (arXiv 1708.02002) and ATSS.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from models import convolution


class Pyramid(nnx.Module):
  """Feature maps of strides 8, 16 and 32 to five levels."""

  def __init__(
    self,
    widths: Sequence[int],
    width: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters.

    Args:
      widths: channels of the tower's maps, finest first.
      width: channels of each level.
      dtype: type of the arithmetic.
      rngs: random stream "params".
    """
    conv = functools.partial(
      convolution.Conv,
      use_bias=True,
      init=jax.nn.initializers.xavier_uniform(),
      dtype=dtype,
      rngs=rngs,
    )
    names = [str(i) for i in range(len(widths))]
    self.inner = nnx.Dict(
      {name: conv(n, width, 1) for name, n in zip(names, widths, strict=True)}
    )
    self.outer = nnx.Dict({name: conv(width, width, 3) for name in names})
    self.p6 = conv(width, width, 3, stride=2)
    self.p7 = conv(width, width, 3, stride=2)

  def __call__(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
    """Return p3 to p7, [b, Y, X, width] each.

    Args:
      maps: [b, Y, X, C] of strides 8, 16 and 32, finest first.
    """
    levels = []
    above = None
    for index in reversed(range(len(maps))):
      x_bYXC = self.inner[str(index)](maps[index])
      if above is not None:
        x_bYXC = x_bYXC + doubled(above, *x_bYXC.shape[1:3])
      above = x_bYXC
      levels.append(self.outer[str(index)](x_bYXC))
    levels.reverse()
    levels.append(self.p6(levels[-1]))
    levels.append(self.p7(jax.nn.relu(levels[-1])))
    return levels


def doubled(x_bYXC: jax.Array, height: int, width: int) -> jax.Array:
  """Return each pixel four times, cut to a size of at most twice the image."""
  x_bYXC = jnp.repeat(jnp.repeat(x_bYXC, 2, axis=1), 2, axis=2)
  return x_bYXC[:, :height, :width]
