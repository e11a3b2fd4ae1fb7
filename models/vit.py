"""Vision Transformer (arXiv 2010.11929) as an image tower."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers

POOLS = ("cls", "gap", "map")
POSITIONS = ("learned", "sincos2d")


@dataclasses.dataclass(frozen=True)
class ViTConfig:
  """Fields of `config.model.image`; configs/base.py explains them."""

  tower: str
  image_size: int
  patch_size: int
  width: int
  depth: int
  num_heads: int
  mlp_width: int
  activation: str
  position: str
  pool: str
  pre_norm: bool
  projection: bool
  projection_bias: bool
  norm_epsilon: float

  @property
  def num_tokens(self) -> int:
    return (self.image_size // self.patch_size) ** 2 + (self.pool == "cls")

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    if self.image_size % self.patch_size:
      raise ValueError(
        "model.image.image_size must be a multiple of model.image.patch_size;"
        f" got {self.image_size} and {self.patch_size}"
      )
    layers.check_choice("model.image.pool", self.pool, POOLS)
    layers.check_choice("model.image.position", self.position, POSITIONS)
    layers.check_transformer("model.image", self, embed_dim)
    if self.position == "sincos2d" and (self.width % 4 or self.width < 8):
      raise ValueError(
        "model.image.width must be a multiple of 4 and at least 8 for"
        f' model.image.position="sincos2d"; got {self.width}'
      )


class ViT(nnx.Module):
  """Images to one embedding each."""

  def __init__(
    self,
    config: ViTConfig,
    *,
    embed_dim: int,
    dtype: str,
    remat: str,
    rngs: nnx.Rngs,
  ):
    width = config.width
    normal = jax.nn.initializers.normal(stddev=width**-0.5)
    # A matmul over flattened patches: the same map as a strided convolution,
    # and what both a TPU and a CPU do fastest.
    self.patch = layers.Dense(
      3 * config.patch_size**2,
      width,
      dtype=dtype,
      rngs=rngs,
      use_bias=not config.pre_norm,
    )
    self.cls = (
      nnx.Param(normal(rngs.params(), (1, width)))
      if config.pool == "cls"
      else None
    )
    self.position = (
      nnx.Param(normal(rngs.params(), (config.num_tokens, width)))
      if config.position == "learned"
      else None
    )
    norm = functools.partial(
      layers.LayerNorm, width, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.pre_norm = norm() if config.pre_norm else None
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
    self.norm = norm()
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

  def __call__(self, images_bYXC: jax.Array) -> jax.Array:
    """Embed images.

    Args:
      images_bYXC: floats, normalised, [b, image_size, image_size, 3].

    Returns:
      [b, E], not L2-normalised.
    """
    x_bND = self.patch(_patches(images_bYXC, self.config.patch_size))
    if self.cls is not None:
      cls_b1D = jnp.broadcast_to(
        self.cls[...].astype(self.dtype), (x_bND.shape[0], 1, x_bND.shape[2])
      )
      x_bND = jnp.concatenate([cls_b1D, x_bND], axis=1)
    x_bND = x_bND + self._positions().astype(self.dtype)
    if self.pre_norm is not None:
      x_bND = self.pre_norm(x_bND)
    x_bND = layers.apply_stack(self.blocks, x_bND, remat=self.remat)
    if self.pool is not None:
      x_bD = self.pool(self.norm(x_bND))
    elif self.config.pool == "gap":
      x_bD = jnp.mean(self.norm(x_bND), axis=1)
    else:
      x_bD = self.norm(x_bND[:, 0])
    return x_bD if self.projection is None else self.projection(x_bD)

  def _positions(self) -> jax.Array:
    if self.position is not None:
      return self.position[...]
    side = self.config.image_size // self.config.patch_size
    position_ND = layers.sincos2d(side, side, self.config.width)
    if self.cls is None:
      return position_ND
    return jnp.pad(position_ND, ((1, 0), (0, 0)))  # the cls token has none


def _patches(images_bYXC: jax.Array, size: int) -> jax.Array:
  """Cut into patches, [b, N, size * size * C], row by row."""
  b, height, width, channels = images_bYXC.shape
  rows, columns = height // size, width // size
  x = images_bYXC.reshape(b, rows, size, columns, size, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, rows * columns, size * size * channels)
