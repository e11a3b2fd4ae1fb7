"""Swin Transformer (arXiv 2103.14030) and CoSwin as an image tower.

CoSwin, of Florence (arXiv 2111.11432, section 3.1), is a Swin whose patch
embedding and patch merging are convolutions whose windows overlap, as in CvT
(arXiv 2103.15808).
"""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import (
  conv_blocks,
  convolution,
  layers,
  stack,
  tower,
  windows,
)
from runtime import checks, marks

# Pixels from one token of the first stage to the next.
PATCH_SIZE = 4
# Patches of pixels or tokens that do not overlap, or a convolution.
EMBEDDINGS = ("patch", "conv")
# CvT's kernels and padding, table 1 and released code: 7x7 of pixels, 3x3 of
# tokens.
_CONV_SIZE, _CONV_PAD = 7, 2
_MERGE_SIZE = 3
_INIT = jax.nn.initializers.truncated_normal(0.02)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwinConfig:
  """Fields of `config.model.image`; configs/parts/towers.py explains them."""

  tower: marks.Fixed[typing.Literal["swin"]]
  image_size: marks.Fixed[int]
  embedding: marks.Fixed[str]
  merging: marks.Fixed[str]
  widths: marks.Fixed[tuple[int, ...]]
  depths: marks.Fixed[tuple[int, ...]]
  num_heads: marks.Fixed[tuple[int, ...]]
  windows: marks.Fixed[tuple[int, ...]]
  mlp_ratio: marks.Fixed[float]
  activation: marks.Fixed[str]
  mask_padding: marks.Fixed[bool]
  projection: marks.Fixed[bool]
  projection_bias: marks.Fixed[bool]
  norm_epsilon: marks.Fixed[float]
  drop_path: marks.Training[float]

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.drop_path)

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    checks.at_least("model.image.image_size", self.image_size, PATCH_SIZE)
    checks.one_of("model.image.embedding", self.embedding, EMBEDDINGS)
    checks.one_of("model.image.merging", self.merging, EMBEDDINGS)
    checks.one_of("model.image.activation", self.activation, layers.ACTIVATIONS)
    checks.above("model.image.mlp_ratio", self.mlp_ratio, 0)
    checks.in_range("model.image.drop_path", self.drop_path, 0, 1)
    stages = (self.widths, self.depths, self.num_heads, self.windows)
    names = "model.image.widths, depths, num_heads and windows"
    if not self.widths or len({len(x) for x in stages}) > 1:
      checks.refuse(
        f"{names} must have one number for each stage; got"
        f" {', '.join(map(str, stages))}"
      )
    elif min(min(x) for x in stages) < 1:
      checks.refuse(
        f"{names} must be at least 1; got {', '.join(map(str, stages))}"
      )
    elif any(
      width % heads
      for width, heads in zip(self.widths, self.num_heads, strict=True)
    ):
      checks.refuse(
        "model.image.widths must be multiples of model.image.num_heads; got"
        f" {self.widths} and {self.num_heads}"
      )
    elif not self.projection and self.widths[-1] != embed_dim:
      checks.refuse(
        "model.image.widths must end with model.embed_dim where"
        f" model.image.projection=False; got {self.widths} and {embed_dim}"
      )


class Block(nnx.Module):
  """Attention within windows, then MLP, each on a residual branch."""

  def __init__(
    self,
    config: SwinConfig,
    stage: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    width = config.widths[stage]
    norm = functools.partial(
      layers.LayerNorm, width, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.attn_norm = norm()
    self.attn = windows.WindowAttention(
      width,
      config.num_heads[stage],
      config.windows[stage],
      mask_padding=config.mask_padding,
      dtype=dtype,
      rngs=rngs,
    )
    self.mlp_norm = norm()
    self.mlp = layers.Mlp(
      width,
      int(config.mlp_ratio * width),
      activation=config.activation,
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(
    self,
    x_bYXC: jax.Array,
    keys_b: jax.Array | None = None,
    rate: jax.Array | float = 0.0,
    *,
    shift: int = 0,
    is_shifted: jax.Array | None = None,
  ) -> jax.Array:
    """Return the tokens after this block.

    Args:
      x_bYXC: tokens.
      keys_b: one random key an example; None leaves out no branch.
      rate: probability that a branch is left out for an example.
      shift: as in `WindowAttention`.
      is_shifted: likewise.
    """
    keys = (
      (None, None)
      if keys_b is None
      else (layers.fold_in(keys_b, 0), layers.fold_in(keys_b, 1))
    )
    y_bYXC = self.attn(
      self.attn_norm(x_bYXC), shift=shift, is_shifted=is_shifted
    )
    x_bYXC = x_bYXC + convolution.drop_path(y_bYXC, keys[0], rate)
    y_bYXC = self.mlp(self.mlp_norm(x_bYXC))
    return x_bYXC + convolution.drop_path(y_bYXC, keys[1], rate)


class Embedding(nnx.Module):
  """Convolution whose windows overlap, then normalisation."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    *,
    size: int,
    stride: int,
    pad: int,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters; `pad` zeros are added on each side.

    With size and stride PATCH_SIZE it is Swin's embedding of patches, for which
    an image is padded below and at the right to whole patches.
    """
    self.conv = convolution.Conv(
      num_in,
      num_out,
      size,
      stride=stride,
      padding="valid",
      use_bias=True,
      init=_INIT,
      dtype=dtype,
      rngs=rngs,
    )
    self.norm = layers.LayerNorm(num_out, epsilon=norm_epsilon, dtype=dtype)
    self.pad = pad
    self.is_patch = size == stride

  def __call__(self, x_bYXC: jax.Array) -> jax.Array:
    pads = [(self.pad, self.pad)] * 2
    if self.is_patch:
      pads = _to_multiple(x_bYXC, self.conv.stride)
    if np.any(pads):
      x_bYXC = jnp.pad(x_bYXC, ((0, 0), *pads, (0, 0)))
    return self.norm(self.conv(x_bYXC))


class PatchMerging(nnx.Module):
  """Four neighbours side by side, normalisation, and an affine map."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    *,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    self.norm = layers.LayerNorm(4 * num_in, epsilon=norm_epsilon, dtype=dtype)
    self.dense = layers.Dense(
      4 * num_in, num_out, use_bias=False, dtype=dtype, rngs=rngs
    )

  def __call__(self, x_bYXC: jax.Array) -> jax.Array:
    """Return half the rows and columns, an odd side padded with zeros."""
    pads = _to_multiple(x_bYXC, 2)
    if np.any(pads):
      x_bYXC = jnp.pad(x_bYXC, ((0, 0), *pads, (0, 0)))
    b, height, width, channels = x_bYXC.shape
    x = x_bYXC.reshape(b, height // 2, 2, width // 2, 2, channels)
    # The two of a column come first, as in Swin's released code.
    x = x.transpose(0, 1, 3, 4, 2, 5)
    return self.dense(
      self.norm(x.reshape(b, height // 2, width // 2, 4 * channels))
    )


class Stage(nnx.Module):
  """Equal blocks, stacked, after a merging but for the first stage."""

  def __init__(
    self, config: SwinConfig, stage: int, *, dtype: str, rngs: nnx.Rngs
  ):
    self.downsample = (
      _make_merging(config, stage, dtype=dtype, rngs=rngs) if stage else None
    )
    self.blocks = stack.make_stack(
      lambda rngs: Block(config, stage, dtype=dtype, rngs=rngs),
      config.depths[stage],
      rngs,
    )


def _make_merging(
  config: SwinConfig, stage: int, **fields: typing.Any
) -> PatchMerging | Embedding:
  fields["norm_epsilon"] = config.norm_epsilon
  num_in, num_out = config.widths[stage - 1 : stage + 1]
  if config.merging == "patch":
    return PatchMerging(num_in, num_out, **fields)
  pad = _MERGE_SIZE // 2
  return Embedding(
    num_in, num_out, size=_MERGE_SIZE, stride=2, pad=pad, **fields
  )


class Swin(nnx.Module):
  """Images to one embedding each, or to a pyramid of feature maps."""

  def __init__(
    self,
    config: SwinConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    dtype = settings.dtype
    is_patch = config.embedding == "patch"
    self.stem = Embedding(
      3,
      config.widths[0],
      size=PATCH_SIZE if is_patch else _CONV_SIZE,
      stride=PATCH_SIZE,
      pad=0 if is_patch else _CONV_PAD,
      norm_epsilon=config.norm_epsilon,
      dtype=dtype,
      rngs=rngs,
    )
    self.stages = nnx.Dict(
      {
        str(i): Stage(config, i, dtype=dtype, rngs=rngs)
        for i in range(len(config.depths))
      }
    )
    width = config.widths[-1]
    self.norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.projection = tower.make_projection(config, width, settings, rngs)
    self.config = config
    self.settings = settings

  def __call__(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Embed images.

    Args:
      images_bYXC: uint8, [b, Y, X, 3]; any size.
      keys_b: one random key an example, used in training; None draws nothing.

    Returns:
      [b, E], not L2-normalised.
    """
    x_bYXC = self.norm(self.pyramid(images_bYXC, keys_b)[-1])
    x_bC = jnp.mean(x_bYXC, axis=(1, 2))
    # None in dual_encoder.feature_fn, too.
    return x_bC if self.projection is None else self.projection(x_bC)

  def pyramid(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> tuple[jax.Array, ...]:
    """Return the tokens after each stage, before they are merged.

    Args:
      images_bYXC: as in `__call__`.
      keys_b: as in `__call__`.

    Returns:
      For stage i [b, Y / (4 * 2^i), X / (4 * 2^i), widths[i]], quotients
      rounded up (down by "conv" embeddings where a pixel is left over).
    """
    drawn = ()  # keys and rate of each block
    depth = sum(self.config.depths)
    if keys_b is not None and self.config.drop_path:
      indices = jnp.arange(depth)
      keys = jax.vmap(lambda index: layers.fold_in(keys_b, index))(indices)
      rates = self.config.drop_path * indices / max(depth - 1, 1)
      drawn = keys, rates
    x_bYXC = self.settings.normalise(images_bYXC)
    x_bYXC = self._run(self.stem, x_bYXC)
    maps = []
    start = 0
    for i, stage in enumerate(self.stages.values()):
      if stage.downsample is not None:
        x_bYXC = self._run(stage.downsample, x_bYXC)
      rows = [x[start : start + self.config.depths[i]] for x in drawn]
      start += self.config.depths[i]
      x_bYXC = self._run_blocks(stage.blocks, i, x_bYXC, *rows)
      maps.append(x_bYXC)
    return tuple(maps)

  def _run_blocks(
    self, blocks: Block, stage: int, x_bYXC: jax.Array, *rows: jax.Array
  ) -> jax.Array:
    """Scan over blocks, every other one with shifted windows.

    A pair is not scanned: a loop would copy what its backward pass needs.
    """
    window = self.config.windows[stage]
    _, height, width, _ = x_bYXC.shape
    _, shift = windows.fitted(window, height, width, window // 2)
    depth = self.config.depths[stage]
    if depth <= 2:
      for i in range(depth):
        block, *row = jax.tree.map(lambda x, i=i: x[i], (blocks, *rows))
        fn = functools.partial(_call, shift if i % 2 else 0, None)
        x_bYXC = self._run(fn, block, x_bYXC, *row)
      return x_bYXC

    def body(x_bYXC, unit):
      is_shifted, block, *row = unit
      return self._run(
        functools.partial(_call, shift), is_shifted, block, x_bYXC, *row
      ), None

    is_shifted_i = jnp.arange(depth) % 2 == 1
    x_bYXC, _ = jax.lax.scan(body, x_bYXC, (is_shifted_i, blocks, *rows))
    return x_bYXC

  def _run(self, fn: typing.Callable, *args: typing.Any) -> jax.Array:
    """Return fn(*args), its rows split over devices, checkpointed by config."""

    def in_place(*args):
      return stack.split_rows(fn(*args), self.settings.batch_axes)

    policy = conv_blocks.REMATS[self.settings.remat]
    if policy is None:
      return in_place(*args)
    return jax.checkpoint(in_place, policy=policy)(*args)


def _call(
  shift: int,
  is_shifted: jax.Array | None,
  block: Block,
  x_bYXC: jax.Array,
  *row: jax.Array,
) -> jax.Array:
  return block(x_bYXC, *row, shift=shift, is_shifted=is_shifted)


def _to_multiple(x_bYXC: jax.Array, size: int) -> list[tuple[int, int]]:
  """Return zeros before and after, for height and width, to fit windows."""
  sides = x_bYXC.shape[1:3]
  return [(0, windows.padded(side, size) - side) for side in sides]
