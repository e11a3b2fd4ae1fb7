"""Settings that all towers of a model share, and makers of common parts."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from models import layers, stack
from runtime import marks


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
  """Fields that the configs of all transformer towers have."""

  tower: marks.Fixed[str]
  width: marks.Fixed[int]
  depth: marks.Fixed[int]
  num_heads: marks.Fixed[int]
  mlp_width: marks.Fixed[int]
  activation: marks.Fixed[str]
  projection: marks.Fixed[bool]
  projection_bias: marks.Fixed[bool]
  norm_epsilon: marks.Fixed[float]
  dropout: marks.Training[float]

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.dropout)


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
    remat_chunks: `chunks` of stack.encode; towers of stages
      (convolutional, Swin) ignore it.
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
  def block_args(self) -> dict[str, Any]:
    """Return the arguments that all functions of conv_blocks have."""
    return {"remat": self.remat, "batch_axes": self.batch_axes}

  @property
  def encode_args(self) -> dict[str, Any]:
    """Return the arguments of stack.encode that all towers share."""
    return self.block_args | {"chunks": self.remat_chunks}

  def normalise(self, pixels: jax.Array) -> jax.Array:
    """Return pixels of 0 to 255, normalised by mean and std."""
    return layers.normalise_pixels(pixels, self.mean, self.std, self.dtype)


def block_args(config: TransformerConfig, settings: Settings) -> dict[str, Any]:
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
  config: TransformerConfig,
  settings: Settings,
  rngs: nnx.Rngs,
  *,
  norm_last: bool = False,
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
