"""NaFlex (SigLIP 2, arXiv 2502.14786): a ViT for images of any shape.

An image is a list of patches of its own height and width, filled up to a common
length; the one table of positions is resized to each image.
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower, vit
from runtime import checks, marks


class Patches(typing.NamedTuple):
  """Images cut into patches, row by row; input_pipeline makes them.

  Attributes:
    patches_bNP: values 0 to 255 (uint8 or float), [b, N, patch_size**2 * 3];
      patches after an image's last one are padding, of any value.
    shapes_b2: int32, rows and columns of each image, their product at most N.
  """

  patches_bNP: jax.Array
  shapes_b2: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class NaFlexConfig(tower.TransformerConfig):
  """Fields of `config.model.image`; configs/parts/towers.py explains them."""

  tower: marks.Fixed[typing.Literal["naflex"]]
  image_size: marks.Fixed[int]
  patch_size: marks.Fixed[int]
  max_num_patches: marks.Fixed[int]
  position_size: marks.Fixed[int]

  @property
  def num_tokens(self) -> int:
    return self.max_num_patches

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    checks.at_least("model.image.patch_size", self.patch_size, 1)
    if self.image_size % self.patch_size:
      checks.refuse(
        "model.image.image_size must be a multiple of model.image.patch_size;"
        f" got {self.image_size} and {self.patch_size}"
      )
    for field in ("max_num_patches", "position_size"):
      checks.at_least(f"model.image.{field}", getattr(self, field), 1)
    layers.check_transformer("model.image", self, embed_dim)


class NaFlex(nnx.Module):
  """Images to one embedding each; parameters as in `vit.ViT` with MAP head."""

  def __init__(
    self,
    config: NaFlexConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    width = config.width
    normal = jax.nn.initializers.normal(stddev=width**-0.5)
    self.patch = layers.Dense(
      3 * config.patch_size**2, width, dtype=settings.dtype, rngs=rngs
    )
    self.position = nnx.Param(
      normal(rngs.params(), (config.position_size**2, width))
    )
    self.blocks = tower.make_blocks(config, settings, rngs)
    self.norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    self.pool = layers.MapHead(**tower.block_args(config, settings), rngs=rngs)
    self.projection = tower.make_projection(config, width, settings, rngs)
    self.config = config
    self.settings = settings

  def __call__(
    self, images: jax.Array | Patches, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Embed images.

    Args:
      images: Patches, or uint8 [b, Y, X, 3] with sides that are multiples of
        patch_size, so without padding.
      keys_b: one random key an example, used in training; None draws nothing.

    Returns:
      [b, E], not L2-normalised.
    """
    return self._encode(images, keys_b, self._head)

  def embedding_and_tokens(
    self, images: jax.Array | Patches, keys_b: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Return the embedding, as `__call__`, and tokens after the last norm.

    Returns:
      [b, E], not L2-normalised, and [b, N, D]; those of padding are of no use,
      see `real_patches`.
    """
    return self._encode(
      images,
      keys_b,
      lambda x_bND, rows: (self._head(x_bND, rows), self.norm(x_bND)),
    )

  def _stem(self, rows: stack.Rows) -> jax.Array:
    size = self.config.patch_size
    if "images" in rows:
      patches_bNP = vit.cut_patches(rows["images"], size)
      height, width = rows["images"].shape[1:3]
      shapes_b2 = jnp.asarray([[height // size, width // size]])
    else:
      patches_bNP, shapes_b2 = rows["patches"], rows["shapes"]
    pixels_bNPC = patches_bNP.reshape(*patches_bNP.shape[:2], size * size, 3)
    patches_bNP = self.settings.normalise(pixels_bNPC).reshape(
      patches_bNP.shape
    )
    position_bND = resize_positions(
      self.position[...], shapes_b2, patches_bNP.shape[1]
    )
    return self.patch(patches_bNP) + position_bND.astype(self.settings.dtype)

  def _encode(
    self,
    images: jax.Array | Patches,
    keys_b: jax.Array | None,
    head: Callable[[jax.Array, stack.Rows], Any],
  ) -> Any:
    if isinstance(images, Patches):
      rows = {"patches": images.patches_bNP, "shapes": images.shapes_b2}
    else:
      rows = {"images": images}
    return stack.encode(
      rows,
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=head,
      mask_fn=_mask,
      **self.settings.encode_args,
    )

  def _head(self, x_bND: jax.Array, rows: stack.Rows) -> jax.Array:
    x_bD = self.pool(self.norm(x_bND), mask_bHSS=_mask(rows))
    return x_bD if self.projection is None else self.projection(x_bD)


def resize_positions(
  table_PD: jax.Array, shapes_b2: jax.Array, num_tokens: int
) -> jax.Array:
  """Return positions [b, num_tokens, D] of images of these shapes.

  Bilinear with antialiasing, from a square table, row by row; values after an
  image's last patch are finite. One matrix product serves all images: each row
  of the matrix has the weights of all table entries for one patch.
  """
  side = round(table_PD.shape[0] ** 0.5)
  index_1N = jnp.arange(num_tokens)[None]
  columns_b1 = shapes_b2[:, 1:]
  y_bNP = _weights(index_1N // columns_b1, shapes_b2[:, :1], side)
  x_bNP = _weights(index_1N % columns_b1, columns_b1, side)
  weight_bNYX = y_bNP[..., :, None] * x_bNP[..., None, :]
  return jnp.dot(
    weight_bNYX.reshape(*weight_bNYX.shape[:2], side * side),
    table_PD,
    precision=jax.lax.Precision.HIGHEST,
  )


def _weights(index_bN: jax.Array, size_b1: jax.Array, side: int) -> jax.Array:
  """Return weights [b, N, side] that resize `side` points to `size` of them.

  The weights are a triangle around the new point among the old ones, as wide as
  the larger of the two distances between neighbouring points, new and old.
  """
  step_b1 = side / size_b1
  # A patch of padding may lie beyond the last row.
  index_bN = jnp.minimum(index_bN, size_b1 - 1)
  centre_bN = (index_bN + 0.5) * step_b1
  distance_bNS = jnp.abs(jnp.arange(side) + 0.5 - centre_bN[..., None])
  reach_b11 = jnp.maximum(step_b1, 1.0)[..., None]
  weight_bNS = jnp.maximum(1.0 - distance_bNS / reach_b11, 0.0)
  return weight_bNS / jnp.sum(weight_bNS, axis=-1, keepdims=True)


def _mask(rows: stack.Rows) -> jax.Array | None:
  if "images" in rows:
    return None
  real_bN = real_patches(Patches(rows["patches"], rows["shapes"]))
  return real_bN[:, None, None, :]


def real_patches(images: Patches) -> jax.Array:
  """Return which patches are no padding, bool [b, N]."""
  num_real_b1 = jnp.prod(images.shapes_b2, axis=1, keepdims=True)
  return jnp.arange(images.patches_bNP.shape[1]) < num_real_b1
