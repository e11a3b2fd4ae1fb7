"""Settings that all towers of a model share, and makers of common parts."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from models import layers, stack


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings that all towers of a model share.

  Attributes:
    embed_dim: length of an embedding.
    mean: mean of the pixels, red green blue, on a scale of 0 to 1; text towers
      ignore it.
    std: standard deviation of the pixels; text towers ignore it.
    dtype: type of the arithmetic.
    remat: a key of stack.REMATS.
    remat_chunks: `chunks` of stack.encode; convolutional towers ignore it.
    batch_axes: as in stack.encode.
  """

  embed_dim: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  remat: str
  remat_chunks: int
  batch_axes: tuple[str, ...]

  @property
  def encode_args(self) -> dict[str, Any]:
    """Return the arguments of stack.encode that all towers share."""
    return {
      "remat": self.remat,
      "chunks": self.remat_chunks,
      "batch_axes": self.batch_axes,
    }

  def normalise(self, pixels: jax.Array) -> jax.Array:
    """Return pixels of 0 to 255, normalised by mean and std."""
    return layers.normalise_pixels(pixels, self.mean, self.std, self.dtype)


def block_args(config: Any, settings: Settings) -> dict[str, Any]:
  """Return arguments of `stack.Block` and `layers.MapHead`.

  Args:
    config: config of a transformer tower.
    settings: settings of the model.
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
  """Return the affine map to the embedding, None for a config without one."""
  if not config.projection:
    return None
  return layers.Dense(
    num_in,
    settings.embed_dim,
    dtype=settings.dtype,
    rngs=rngs,
    use_bias=config.projection_bias,
  )
