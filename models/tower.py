"""What every tower is given beside its config, and what most are made of."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from models import layers, stack


@dataclasses.dataclass(frozen=True)
class Settings:
  """What the towers of a model share.

  Attributes:
    embed_dim: length of an embedding.
    mean: of the pixels, red green blue, on a scale of 0 to 1; of no interest
      to a text tower, and so is `std`.
    std: their standard deviation.
    dtype: of the arithmetic.
    remat: what the backward pass computes again; a key of stack.REMATS.
    remat_chunks: as `chunks` of stack.encode; convolutions do without.
    batch_axes: as of stack.encode.
  """

  embed_dim: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  remat: str
  remat_chunks: int
  batch_axes: tuple[str, ...]

  def normalise(self, pixels: jax.Array) -> jax.Array:
    """Return pixels of 0 to 255 as the image tower takes them."""
    return layers.normalise_pixels(pixels, self.mean, self.std, self.dtype)


def block_args(config: Any, settings: Settings) -> dict[str, Any]:
  """Return what `stack.Block` and `layers.MapHead` are made with.

  Args:
    config: of a transformer tower.
    settings: of the model.
  """
  return {
    "width": config.width,
    "num_heads": config.num_heads,
    "mlp_width": config.mlp_width,
    "activation": config.activation,
    "norm_epsilon": config.norm_epsilon,
    "dtype": settings.dtype,
  }


def make_blocks(
  config: Any, settings: Settings, rngs: nnx.Rngs, *, norm_last: bool = False
) -> stack.Block:
  """Return the stacked layers of a transformer tower."""
  args = block_args(config, settings)
  args |= {"dropout": config.dropout, "norm_last": norm_last}
  return stack.make_stack(
    lambda rngs: stack.Block(**args, rngs=rngs), config.depth, rngs
  )


def make_projection(
  config: Any, num_in: int, settings: Settings, rngs: nnx.Rngs
) -> layers.Dense | None:
  """Return the affine map to the embedding, None where a config has none."""
  if not config.projection:
    return None
  return layers.Dense(
    num_in,
    settings.embed_dim,
    dtype=settings.dtype,
    rngs=rngs,
    use_bias=config.projection_bias,
  )
