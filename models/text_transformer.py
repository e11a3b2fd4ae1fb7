"""Transformer over token ids as a text tower, causal (CLIP) or not (SigLIP)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers

POOLS = ("last", "first", "eot", "mean", "map")
PADDING_ID = 0


@dataclasses.dataclass(frozen=True)
class TextTransformerConfig:
  """Fields of `config.model.text`; configs/base.py explains them."""

  tower: str
  vocab_size: int
  num_tokens: int
  width: int
  depth: int
  num_heads: int
  mlp_width: int
  activation: str
  causal: bool
  pool: str
  mask_padding: bool
  projection: bool
  projection_bias: bool
  norm_epsilon: float

  @property
  def ignores_padding(self) -> bool:
    """Whether an embedding is the same with less padding behind the caption."""
    if self.pool == "last":
      return False
    return self.mask_padding or (self.causal and self.pool == "eot")

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    layers.check_choice("model.text.pool", self.pool, POOLS)
    layers.check_transformer("model.text", self, embed_dim)
    if self.causal and self.pool == "first":
      raise ValueError(
        'model.text.pool="first" sees one token only with'
        " model.text.causal=True; expected last, eot, mean or map"
      )


class TextTransformer(nnx.Module):
  """Captions to one embedding each."""

  def __init__(
    self,
    config: TextTransformerConfig,
    *,
    embed_dim: int,
    dtype: str,
    remat: str,
    rngs: nnx.Rngs,
  ):
    width = config.width
    normal = jax.nn.initializers.normal
    self.token_embedding = nnx.Param(
      normal(0.02)(rngs.params(), (config.vocab_size, width))
    )
    self.position = nnx.Param(
      normal(0.01)(rngs.params(), (config.num_tokens, width))
    )
    block_args = {
      "width": width,
      "num_heads": config.num_heads,
      "mlp_width": config.mlp_width,
      "activation": config.activation,
      "norm_epsilon": config.norm_epsilon,
      "dtype": dtype,
    }
    self.blocks = layers.make_stack(
      lambda rngs: layers.Block(**block_args, rngs=rngs), config.depth, rngs
    )
    self.norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.pool = (
      layers.MapHead(**block_args, rngs=rngs) if config.pool == "map" else None
    )
    self.projection = (
      layers.Dense(
        width,
        embed_dim,
        dtype=dtype,
        rngs=rngs,
        use_bias=config.projection_bias,
      )
      if config.projection
      else None
    )
    self.config = config
    self.dtype = dtype
    self.remat = remat

  def __call__(self, tokens_bL: jax.Array) -> jax.Array:
    """Embed captions.

    Args:
      tokens_bL: int32 ids, padded at the end with 0, L at most num_tokens.

    Returns:
      [b, E], not L2-normalised.
    """
    length = tokens_bL.shape[1]
    x_bLD = jnp.take(self.token_embedding[...], tokens_bL, axis=0)
    x_bLD = (x_bLD + self.position[:length]).astype(self.dtype)
    real_bL = tokens_bL != PADDING_ID
    mask_b11L = real_bL[:, None, None, :] if self.config.mask_padding else None
    x_bLD = layers.apply_stack(
      self.blocks,
      x_bLD,
      remat=self.remat,
      mask_bHSS=mask_b11L,
      is_causal=self.config.causal,
    )
    x_bD = self._pool(self.norm(x_bLD), real_bL, mask_b11L)
    return x_bD if self.projection is None else self.projection(x_bD)

  def _pool(
    self, x_bLD: jax.Array, real_bL: jax.Array, mask_b11L: jax.Array | None
  ) -> jax.Array:
    pool = self.config.pool
    if self.pool is not None:
      return self.pool(x_bLD, mask_bHSS=mask_b11L)
    if pool == "mean":
      if mask_b11L is None:
        return jnp.mean(x_bLD, axis=1)
      weight_bL1 = real_bL[:, :, None].astype(jnp.float32)
      total_bD = jnp.sum(x_bLD * weight_bL1, axis=1)
      return (total_bD / jnp.sum(weight_bL1, axis=1)).astype(x_bLD.dtype)
    if pool == "first":
      return x_bLD[:, 0]
    if pool == "last":
      return x_bLD[:, -1]
    eot_b = jnp.sum(real_bL, axis=1) - 1
    return jnp.take_along_axis(x_bLD, eot_b[:, None, None], axis=1)[:, 0]
