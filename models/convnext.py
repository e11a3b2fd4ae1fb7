"""ConvNeXt (arXiv 2201.03545) as an image tower, as open_clip uses it."""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
from flax import nnx

from models import conv_blocks, convolution, layers, stack, tower
from runtime import checks, marks

# Side of the patch of pixels that is one position of the first stage.
PATCH_SIZE = 4
KERNEL_SIZE = 7
MLP_RATIO = 4
HEADS = ("linear", "mlp")
# The paper's initial values of convolutions (appendix A.1), and of the scale of
# each residual branch.
_INIT = jax.nn.initializers.truncated_normal(0.02)
_BRANCH_SCALE = 1e-6


@dataclasses.dataclass(frozen=True)
class ConvNeXtConfig:
  """Fields of `config.model.image`; configs/parts/towers.py explains them."""

  tower: marks.Fixed[typing.Literal["convnext"]]
  image_size: marks.Fixed[int]
  depths: marks.Fixed[tuple[int, ...]]
  widths: marks.Fixed[tuple[int, ...]]
  head: marks.Fixed[str]
  head_bias: marks.Fixed[bool]
  norm_epsilon: marks.Fixed[float]
  drop_path: marks.Training[float]

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.drop_path)

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    del embed_dim  # the head makes any width
    stride = PATCH_SIZE * 2 ** (len(self.depths) - 1)
    checks.at_least("model.image.image_size", self.image_size, stride)
    if not self.depths or len(self.depths) != len(self.widths):
      checks.refuse(
        "model.image.depths and model.image.widths must have one number for"
        f" each stage; got {self.depths} and {self.widths}"
      )
    if min(*self.depths, *self.widths) < 1:
      checks.refuse(
        "model.image.depths and model.image.widths must be at least 1; got"
        f" {self.depths} and {self.widths}"
      )
    checks.one_of("model.image.head", self.head, HEADS)
    checks.in_range("model.image.drop_path", self.drop_path, 0, 1)


class Block(nnx.Module):
  """Depthwise convolution, normalisation and MLP, on a residual branch."""

  def __init__(
    self, width: int, *, norm_epsilon: float, dtype: str, rngs: nnx.Rngs
  ):
    self.depthwise = convolution.DepthwiseConv(
      width, KERNEL_SIZE, use_bias=True, init=_INIT, dtype=dtype, rngs=rngs
    )
    self.norm = layers.LayerNorm(width, epsilon=norm_epsilon, dtype=dtype)
    self.mlp = layers.Mlp(
      width, MLP_RATIO * width, activation="gelu", dtype=dtype, rngs=rngs
    )
    self.scale = nnx.Param(jnp.full((width,), _BRANCH_SCALE))
    self.dtype = dtype

  def __call__(
    self,
    x_bYXC: jax.Array,
    stats: None,
    keys_b: jax.Array | None = None,
    rate: jax.Array | float = 0.0,
  ) -> jax.Array:
    del stats
    y_bYXC = self.mlp(self.norm(self.depthwise(x_bYXC)))
    y_bYXC = y_bYXC * self.scale[...].astype(self.dtype)
    return x_bYXC + convolution.drop_path(y_bYXC, keys_b, rate)


class Downsample(nnx.Module):
  """Convolution of windows that do not overlap, and normalisation."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    size: int,
    *,
    norm_first: bool,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    self.norm = layers.LayerNorm(
      num_in if norm_first else num_out, epsilon=norm_epsilon, dtype=dtype
    )
    self.conv = convolution.Conv(
      num_in,
      num_out,
      size,
      stride=size,
      use_bias=True,
      init=_INIT,
      dtype=dtype,
      rngs=rngs,
    )
    self.norm_first = norm_first

  def __call__(self, x_bYXC: jax.Array, stats: None) -> jax.Array:
    del stats
    if self.norm_first:
      return self.conv(self.norm(x_bYXC))
    return self.norm(self.conv(x_bYXC))


class Stage(nnx.Module):
  """Equal blocks, stacked, after a downsampling but for the first stage."""

  def __init__(
    self,
    num_in: int | None,
    width: int,
    depth: int,
    *,
    rngs: nnx.Rngs,
    **fields,
  ):
    self.downsample = (
      Downsample(num_in, width, 2, norm_first=True, rngs=rngs, **fields)
      if num_in
      else None
    )
    self.blocks = stack.make_stack(
      lambda rngs: Block(width, rngs=rngs, **fields), depth, rngs
    )


class ConvNeXt(nnx.Module):
  """Images to one embedding each."""

  def __init__(
    self,
    config: ConvNeXtConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    fields = {"norm_epsilon": config.norm_epsilon, "dtype": settings.dtype}
    self.stem = Downsample(
      3, config.widths[0], PATCH_SIZE, norm_first=False, rngs=rngs, **fields
    )
    self.stages = nnx.Dict(
      {
        str(i): Stage(
          config.widths[i - 1] if i else None,
          width,
          depth,
          rngs=rngs,
          **fields,
        )
        for i, (width, depth) in enumerate(
          zip(config.widths, config.depths, strict=True)
        )
      }
    )
    width = config.widths[-1]
    self.norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    dense = functools.partial(layers.Dense, dtype=settings.dtype, rngs=rngs)
    is_mlp = config.head == "mlp"
    # As in open_clip, the hidden layer of an MLP is twice the embedding.
    self.hidden = dense(width, 2 * settings.embed_dim) if is_mlp else None
    self.projection = dense(
      2 * settings.embed_dim if is_mlp else width,
      settings.embed_dim,
      use_bias=config.head_bias,
    )
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
    x_bYXC = self.pyramid(images_bYXC, keys_b)[-1]
    x_bC = self.norm(jnp.mean(x_bYXC, axis=(1, 2)))
    if self.projection is None:  # dual_encoder.feature_fn
      return x_bC
    if self.hidden is not None:
      x_bC = layers.ACTIVATIONS["gelu"](self.hidden(x_bC))
    return self.projection(x_bC)

  def pyramid(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> tuple[jax.Array, ...]:
    """Return the output of each stage, finest first, [b, Y, X, C] each.

    Arguments are those of `__call__`. The strides are 4, 8, 16 and so on.
    """
    how = self.settings.block_args
    depth = sum(self.config.depths)
    drawn = ()  # keys and rate of each block
    if keys_b is not None and self.config.drop_path:
      indices = jnp.arange(depth)
      keys = jax.vmap(lambda index: layers.fold_in(keys_b, index))(indices)
      rates = self.config.drop_path * indices / max(depth - 1, 1)
      drawn = keys, rates
    x_bYXC = self.settings.normalise(images_bYXC)
    x_bYXC = conv_blocks.run(self.stem, x_bYXC, None, **how)
    start = 0
    maps = []
    for stage, depth in zip(
      self.stages.values(), self.config.depths, strict=True
    ):
      if stage.downsample is not None:
        x_bYXC = conv_blocks.run(stage.downsample, x_bYXC, None, **how)
      rows = [x[start : start + depth] for x in drawn]
      x_bYXC = conv_blocks.scan(stage.blocks, x_bYXC, None, *rows, **how)
      start += depth
      maps.append(x_bYXC)
    return tuple(maps)
