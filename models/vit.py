"""Vision Transformer (arXiv 2010.11929) as an image tower."""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower
from runtime import checks, marks

POOLS = ("cls", "gap", "map", "queries")
POSITIONS = ("learned", "sincos2d")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig(tower.TransformerConfig):
  """Fields of `config.model.image`; configs/base.py explains them."""

  tower: marks.Fixed[typing.Literal["vit"]]
  image_size: marks.Fixed[int]
  patch_size: marks.Fixed[int]
  position: marks.Fixed[str]
  pool: marks.Fixed[str]
  pre_norm: marks.Fixed[bool]
  patch_dropout: marks.Training[float]
  num_queries: marks.Fixed[int] = 0
  pool_heads: marks.Fixed[int] = 0

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.dropout or self.patch_dropout)

  @property
  def has_cls(self) -> bool:
    """Whether a learned token comes before the patches."""
    return self.pool in ("cls", "queries")

  @property
  def num_tokens(self) -> int:
    return self.num_patches + self.has_cls

  @property
  def num_patches(self) -> int:
    return (self.image_size // self.patch_size) ** 2

  @property
  def num_kept_patches(self) -> int:
    """Patches that training computes; at least one."""
    return max(1, round(self.num_patches * (1 - self.patch_dropout)))

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    if not 1 <= self.patch_size <= self.image_size:
      checks.refuse(
        "model.image.image_size must be at least model.image.patch_size, and"
        f" that at least 1; got {self.image_size} and {self.patch_size}"
      )
    checks.in_range("model.image.patch_dropout", self.patch_dropout, 0, 1)
    checks.one_of("model.image.pool", self.pool, POOLS)
    checks.one_of("model.image.position", self.position, POSITIONS)
    layers.check_transformer("model.image", self, embed_dim)
    if self.pool == "queries" and (
      self.num_queries < 1 or self.pool_heads < 1 or embed_dim % self.pool_heads
    ):
      checks.refuse(
        'model.image.pool="queries" needs model.image.num_queries of at least 1'
        " and model.image.pool_heads that divides model.embed_dim; got"
        f" {self.num_queries}, {self.pool_heads} and {embed_dim}"
      )
    if self.position == "sincos2d" and (self.width % 4 or self.width < 8):
      checks.refuse(
        "model.image.width must be a multiple of 4 and at least 8 for"
        f' model.image.position="sincos2d"; got {self.width}'
      )


class ViT(nnx.Module):
  """Images to one embedding each."""

  def __init__(
    self,
    config: ViTConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    width = config.width
    normal = jax.nn.initializers.normal(stddev=width**-0.5)
    # A matmul over flattened patches is the same map as a strided convolution,
    # and faster on both a TPU and a CPU.
    self.patch = layers.Dense(
      3 * config.patch_size**2,
      width,
      dtype=settings.dtype,
      rngs=rngs,
      use_bias=not config.pre_norm,
    )
    self.cls = (
      nnx.Param(normal(rngs.params(), (1, width))) if config.has_cls else None
    )
    self.position = (
      nnx.Param(normal(rngs.params(), (config.num_tokens, width)))
      if config.position == "learned"
      else None
    )
    norm = functools.partial(
      layers.LayerNorm, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    self.pre_norm = norm(width) if config.pre_norm else None
    self.blocks = tower.make_blocks(config, settings, rngs)
    pooled_width = settings.embed_dim if config.pool == "queries" else width
    self.norm = norm(pooled_width)
    self.pool = _make_pool(config, settings, rngs)
    self.projection = tower.make_projection(
      config, pooled_width, settings, rngs
    )
    self.config = config
    self.settings = settings

  def __call__(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Embed images.

    Args:
      images_bYXC: uint8, [b, image_size, image_size, 3].
      keys_b: one random key an example, used in training; None draws nothing.

    Returns:
      [b, E], not L2-normalised.
    """
    return stack.encode(
      {"images": images_bYXC},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=self._head,
      **self.settings.encode_args,
      token_fn=stack.first_token if self.config.pool == "cls" else None,
    )

  def tokens(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return all tokens after the last norm, [b, N, D], not pooled.

    Not of pool="queries", whose norm follows the pooling.
    """
    return stack.encode(
      {"images": images_bYXC},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=lambda x_bND, rows: self.norm(x_bND),
      **self.settings.encode_args,
    )

  def embedding_and_tokens(
    self,
    images_bYXC: jax.Array,
    keys_b: jax.Array | None = None,
    *,
    masked_bN: jax.Array | None = None,
    mask_D: jax.Array | None = None,
    any_size: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """Return the embedding, as `__call__`, and the tokens of all patches.

    Args:
      images_bYXC: uint8, square.
      keys_b: as in `__call__`.
      masked_bN: bool, patches that the mask token replaces before positions are
        added; None replaces none.
      mask_D: the mask token.
      any_size: whether images may be of another size than
        model.image.image_size, for which positions are resized (bilinear,
        antialiased, as NaFlex's).

    Returns:
      [b, E], not L2-normalised, and [b, N, D] without a cls token.

    Raises:
      ValueError: pool="queries", which has no norm of single tokens.
    """
    if self.config.pool == "queries":
      raise ValueError(
        'tokens need model.image.pool to be "map", "gap" or "cls"; got'
        ' "queries", whose norm follows the pooling'
      )
    rows = {"images": images_bYXC}
    if masked_bN is not None:
      rows["masked"] = masked_bN
    num_first = int(self.config.has_cls)
    return stack.encode(
      rows,
      keys_b,
      stem=functools.partial(self._stem, mask_D=mask_D, any_size=any_size),
      blocks=self.blocks,
      head=lambda x_bND, rows: (
        self._head(x_bND, rows),
        self.norm(x_bND)[:, num_first:],
      ),
      **self.settings.encode_args,
    )

  def embedding_and_queries(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Return the embedding, as `__call__`, and the tokens for a captioner.

    Args:
      images_bYXC: as in `__call__`.
      keys_b: as in `__call__`.

    Returns:
      [b, E], not L2-normalised, and [b, num_queries - 1, E], what the other
      queries of the pooling found, after the norm.

    Raises:
      ValueError: the tower does not pool with queries.
    """
    pool = self.pool
    if not isinstance(pool, layers.QueryPool):
      raise ValueError(
        'tokens for a captioner need model.image.pool="queries"; got'
        f' "{self.config.pool}"'
      )

    def head(x_bND: jax.Array, rows: stack.Rows) -> tuple[jax.Array, jax.Array]:
      del rows
      x_bNE = self.norm(pool.all(x_bND))
      x_bE = x_bNE[:, 0]
      if self.projection is not None:
        x_bE = self.projection(x_bE)
      return x_bE, x_bNE[:, 1:]

    return stack.encode(
      {"images": images_bYXC},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=head,
      **self.settings.encode_args,
    )

  def _stem(
    self,
    rows: stack.Rows,
    *,
    mask_D: jax.Array | None = None,
    any_size: bool = False,
  ) -> jax.Array:
    """Return tokens with their positions, the cls token first."""
    images_bYXC = self.settings.normalise(rows["images"])
    patches_bNP = cut_patches(images_bYXC, self.config.patch_size)
    position_ND = self._positions()
    if any_size and images_bYXC.shape[1] != self.config.image_size:
      position_ND = self._resized(position_ND, images_bYXC.shape[1])
    position_ND = position_ND.astype(self.settings.dtype)
    num_first = int(self.config.has_cls)
    position_1ND = position_ND[None, num_first:]
    if "keys" in rows and self.config.patch_dropout:
      kept_bN1 = _draw_patches(rows["keys"], self.config)[:, :, None]
      patches_bNP = jnp.take_along_axis(patches_bNP, kept_bN1, axis=1)
      position_1ND = jnp.take_along_axis(position_1ND, kept_bN1, axis=1)
    x_bND = self.patch(patches_bNP)
    if "masked" in rows:
      assert mask_D is not None
      mask_D = mask_D.astype(x_bND.dtype)
      x_bND = jnp.where(rows["masked"][..., None], mask_D, x_bND)
    x_bND = x_bND + position_1ND
    if self.cls is not None:
      cls_1D = (
        self.cls[...].astype(self.settings.dtype) + position_ND[:num_first]
      )
      cls_b1D = jnp.broadcast_to(cls_1D, (x_bND.shape[0], 1, x_bND.shape[2]))
      x_bND = jnp.concatenate([cls_b1D, x_bND], axis=1)
    return x_bND if self.pre_norm is None else self.pre_norm(x_bND)

  def _head(self, x_bND: jax.Array, rows: stack.Rows) -> jax.Array:
    del rows
    if isinstance(self.pool, layers.QueryPool):
      x_bD = self.norm(self.pool(x_bND))
    elif self.pool is not None:
      x_bD = self.pool(self.norm(x_bND))
    elif self.config.pool == "gap":
      x_bD = jnp.mean(self.norm(x_bND), axis=1)
    else:
      x_bD = self.norm(x_bND[:, 0])
    return x_bD if self.projection is None else self.projection(x_bD)

  def _resized(self, position_ND: jax.Array, size: int) -> jax.Array:
    """Return the positions of images of another size, in pixels."""
    num_first = int(self.config.has_cls)
    old, new = (
      x // self.config.patch_size for x in (self.config.image_size, size)
    )
    grid_YXD = position_ND[num_first:].reshape(old, old, -1)
    grid_YXD = jax.image.resize(
      grid_YXD, (new, new, grid_YXD.shape[-1]), "bilinear"
    )
    patches_ND = grid_YXD.reshape(new * new, -1)
    return jnp.concatenate([position_ND[:num_first], patches_ND])

  def _positions(self) -> jax.Array:
    if self.position is not None:
      return self.position[...]
    side = self.config.image_size // self.config.patch_size
    position_ND = layers.sincos2d(side, side, self.config.width)
    if self.cls is None:
      return position_ND
    return jnp.pad(position_ND, ((1, 0), (0, 0)))  # the cls token has none


def _make_pool(
  config: ViTConfig, settings: tower.Settings, rngs: nnx.Rngs
) -> layers.MapHead | layers.QueryPool | None:
  if config.pool == "map":
    return layers.MapHead(**tower.block_args(config, settings), rngs=rngs)
  if config.pool == "queries":
    return layers.QueryPool(
      settings.embed_dim,
      config.pool_heads,
      config.num_queries,
      key_width=config.width,
      norm_epsilon=config.norm_epsilon,
      dtype=settings.dtype,
      rngs=rngs,
    )
  return None


def _draw_patches(keys_b: jax.Array, config: ViTConfig) -> jax.Array:
  """Return indices [b, num_kept_patches] of patches to keep, in order.

  Source: FLIP (arXiv 2212.00794), section 3: uniform, without replacement.
  """
  keys_b = layers.fold_in(keys_b, config.depth)  # no layer has this index
  shape = (config.num_patches,)
  noise_bN = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys_b)
  order_bN = jnp.argsort(noise_bN, axis=1)
  return jnp.sort(order_bN[:, : config.num_kept_patches], axis=1)


def cut_patches(images_bYXC: jax.Array, size: int) -> jax.Array:
  """Cut into patches, [b, N, size * size * C], row by row.

  Pixels at the right and below that do not fill a patch are left out, as a
  strided convolution does: So400m/14 sees 378 of its 384 pixels.
  """
  b, height, width, channels = images_bYXC.shape
  rows, columns = height // size, width // size
  x = images_bYXC[:, : rows * size, : columns * size]
  x = x.reshape(b, rows, size, columns, size, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, rows * columns, size * size * channels)
