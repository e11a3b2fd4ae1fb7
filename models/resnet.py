"""CLIP's modified ResNet (arXiv 2103.00020, section 2.4) as an image tower.

Three stem convolutions, average pooling in place of strides (anti-aliased), and
attention pooling whose query is the mean of all positions.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from models import batch_norm, conv_blocks, convolution, layers, stack, tower
from runtime import checks, marks

# Ratio of a block's output channels to the channels inside it.
EXPANSION = 4
# Ratio of image side to token grid: the stem halves twice, each later stage
# once.
STRIDE = 32
# PyTorch's default initial values of convolutions, unchanged in CLIP's code.
_INIT = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
  """Fields of `config.model.image`; configs/parts/towers.py explains them."""

  tower: marks.Fixed[typing.Literal["resnet"]]
  image_size: marks.Fixed[int]
  width: marks.Fixed[int]
  depths: marks.Fixed[tuple[int, ...]]
  num_heads: marks.Fixed[int]
  batch_norm_group: marks.Training[int]
  norm_epsilon: marks.Fixed[float]
  norm_momentum: marks.Training[float]

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return False

  @property
  def out_width(self) -> int:
    """Channels that are pooled."""
    return self.width * EXPANSION * 2 ** (len(self.depths) - 1)

  @property
  def num_tokens(self) -> int:
    """Positions that are pooled, and their mean."""
    return 1 + (self.image_size // STRIDE) ** 2

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    del embed_dim  # the attention pool's last map makes any width
    if self.image_size < STRIDE or self.image_size % STRIDE:
      checks.refuse(
        f"model.image.image_size must be a multiple of {STRIDE} for a ResNet;"
        f" got {self.image_size}"
      )
    if len(self.depths) != 4 or min(self.depths) < 1:
      checks.refuse(
        "model.image.depths must be the blocks of 4 stages, at least 1 each;"
        f" got {self.depths}"
      )
    if self.out_width % self.num_heads or self.width % 2:
      checks.refuse(
        "model.image.width must be even, and 32 times it a multiple of"
        f" model.image.num_heads; got {self.width} and {self.num_heads}"
      )
    batch_norm.check("model.image", self)


class Stem(nnx.Module):
  """Three convolutions and a pool: a quarter of the height and width."""

  def __init__(self, width: int, *, norm, dtype: str, rngs: nnx.Rngs):
    conv = functools.partial(
      convolution.Conv, size=3, init=_INIT, dtype=dtype, rngs=rngs
    )
    self.conv1 = conv(3, width // 2, stride=2)
    self.norm1 = norm(width // 2)
    self.conv2 = conv(width // 2, width // 2)
    self.norm2 = norm(width // 2)
    self.conv3 = conv(width // 2, width)
    self.norm3 = norm(width)

  def __call__(
    self, x_bYXC: jax.Array, stats: batch_norm.Statistics | None
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    x_bYXC = jax.nn.relu(self.norm1(self.conv1(x_bYXC), inside("norm1")))
    x_bYXC = jax.nn.relu(self.norm2(self.conv2(x_bYXC), inside("norm2")))
    x_bYXC = jax.nn.relu(self.norm3(self.conv3(x_bYXC), inside("norm3")))
    return convolution.average_pool(x_bYXC, 2)


class Bottleneck(nnx.Module):
  """Residual block of three convolutions; a pool where others have a stride."""

  def __init__(
    self,
    num_in: int,
    width: int,
    *,
    stride: int,
    norm,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    num_out = width * EXPANSION
    conv = functools.partial(
      convolution.Conv, init=_INIT, dtype=dtype, rngs=rngs
    )
    self.conv1 = conv(num_in, width, 1)
    self.norm1 = norm(width)
    self.conv2 = conv(width, width, 3)
    self.norm2 = norm(width)
    self.conv3 = conv(width, num_out, 1)
    # A new block is the identity, as in CLIP's code.
    self.norm3 = norm(num_out, scale_init=0.0)
    changes = stride > 1 or num_in != num_out
    self.shortcut = conv(num_in, num_out, 1) if changes else None
    self.shortcut_norm = norm(num_out) if changes else None
    self.stride = stride

  def __call__(
    self, x_bYXC: jax.Array, stats: batch_norm.Statistics | None
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    y_bYXC = jax.nn.relu(self.norm1(self.conv1(x_bYXC), inside("norm1")))
    y_bYXC = jax.nn.relu(self.norm2(self.conv2(y_bYXC), inside("norm2")))
    if self.stride > 1:
      y_bYXC = convolution.average_pool(y_bYXC, self.stride)
      x_bYXC = convolution.average_pool(x_bYXC, self.stride)
    y_bYXC = self.norm3(self.conv3(y_bYXC), inside("norm3"))
    if self.shortcut is not None and self.shortcut_norm is not None:
      x_bYXC = self.shortcut(x_bYXC)
      x_bYXC = self.shortcut_norm(x_bYXC, inside("shortcut_norm"))
    return jax.nn.relu(x_bYXC + y_bYXC)


class Stage(nnx.Module):
  """A block that changes the shape, and equal ones that do not, stacked."""

  def __init__(
    self,
    num_in: int,
    width: int,
    depth: int,
    *,
    stride: int,
    rngs: nnx.Rngs,
    block: Callable[..., nnx.Module] = Bottleneck,
    **fields,
  ):
    self.first = block(num_in, width, stride=stride, rngs=rngs, **fields)
    self.blocks = (
      stack.make_stack(
        lambda rngs: block(
          width * EXPANSION, width, stride=1, rngs=rngs, **fields
        ),
        depth - 1,
        rngs,
      )
      if depth > 1
      else None
    )

  def __call__(
    self, x_bYXC: jax.Array, stats: batch_norm.Statistics | None, **how
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    x_bYXC = conv_blocks.run(self.first, x_bYXC, inside("first"), **how)
    if self.blocks is None:
      return x_bYXC
    return conv_blocks.scan(self.blocks, x_bYXC, inside("blocks"), **how)


class ResNet(nnx.Module):
  """Images to one embedding each."""

  def __init__(
    self,
    config: ResNetConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    norm = batch_norm.maker(config, settings.dtype)
    fields = {"norm": norm, "dtype": settings.dtype, "rngs": rngs}
    self.stem = Stem(config.width, **fields)
    widths = [config.width * 2**i for i in range(len(config.depths))]
    inputs = [config.width] + [width * EXPANSION for width in widths[:-1]]
    self.stages = nnx.Dict(
      {
        str(i): Stage(
          inputs[i], widths[i], depth, stride=1 if i == 0 else 2, **fields
        )
        for i, depth in enumerate(config.depths)
      }
    )
    normal = jax.nn.initializers.normal(stddev=config.out_width**-0.5)
    self.position = nnx.Param(
      normal(rngs.params(), (config.num_tokens, config.out_width))
    )
    self.attn = layers.Attention(
      config.out_width,
      config.num_heads,
      num_out=settings.embed_dim,
      dtype=settings.dtype,
      rngs=rngs,
    )
    self.config = config
    self.settings = settings

  def __call__(
    self,
    images_bYXC: jax.Array,
    keys_b: jax.Array | None = None,
    stats: batch_norm.Statistics | None = None,
  ) -> jax.Array:
    """Embed images.

    Args:
      images_bYXC: uint8, [b, image_size, image_size, 3].
      keys_b: ignored; this tower draws nothing.
      stats: None to evaluate; in training, the dict that receives new running
        statistics (models/batch_norm.py).

    Returns:
      [b, E], not L2-normalised.
    """
    x_bYXC = self.pyramid(images_bYXC, keys_b, stats)[-1]
    x_bND = x_bYXC.reshape(x_bYXC.shape[0], -1, x_bYXC.shape[-1])
    mean_b1D = jnp.mean(x_bND, axis=1, keepdims=True)
    x_bND = jnp.concatenate([mean_b1D, x_bND], axis=1)
    x_bND = x_bND + self.position[...].astype(self.settings.dtype)
    return self.attn(x_bND[:, :1], x_bND)[:, 0]

  def pyramid(
    self,
    images_bYXC: jax.Array,
    keys_b: jax.Array | None = None,
    stats: batch_norm.Statistics | None = None,
  ) -> tuple[jax.Array, ...]:
    """Return the output of each stage, finest first, [b, Y, X, C] each.

    Arguments are those of `__call__`, but that sides of images may be any
    multiples of STRIDE. The strides are 4, 8, 16 and 32.
    """
    del keys_b
    inside = functools.partial(batch_norm.inside, stats)
    x_bYXC = self.settings.normalise(images_bYXC)
    how = self.settings.block_args
    x_bYXC = conv_blocks.run(self.stem, x_bYXC, inside("stem"), **how)
    maps = []
    for name, stage in self.stages.items():
      stage_stats = batch_norm.inside(inside("stages"), name)
      x_bYXC = stage(x_bYXC, stage_stats, **how)
      maps.append(x_bYXC)
    return tuple(maps)
