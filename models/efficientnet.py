"""EfficientNet (arXiv 1905.11946) as an image tower: also ALIGN's and Lite.

ALIGN (arXiv 2102.05918, section 4.2) pools without the last 1x1 convolution:
`head_width=0`. Lite has no squeeze-and-excitation, ReLU6 for swish, and ends
that do not grow: `squeeze=0.0`, `activation="relu6"`, `fixed_ends=True`.
"""

import dataclasses
import functools
import math
import typing

import jax
import jax.numpy as jnp
from flax import nnx

from models import batch_norm, conv_blocks, convolution, layers, stack, tower
from runtime import checks, marks

# Numbers of channels are rounded to a multiple of this.
_DIVISOR = 8


class StageShape(typing.NamedTuple):
  """A stage after scaling."""

  num_in: int
  width: int
  depth: int
  size: int
  stride: int
  expand: int
  start: int  # number of blocks in earlier stages


@dataclasses.dataclass(frozen=True)
class EfficientNetConfig:
  """Fields of `config.model.image`; configs/parts/towers.py explains them."""

  tower: marks.Fixed[typing.Literal["efficientnet"]]
  image_size: marks.Fixed[int]
  width_factor: marks.Fixed[float]
  depth_factor: marks.Fixed[float]
  stem_width: marks.Fixed[int]
  stages: marks.Fixed[tuple[tuple[int, ...], ...]]
  head_width: marks.Fixed[int]
  fixed_ends: marks.Fixed[bool]
  squeeze: marks.Fixed[float]
  activation: marks.Fixed[str]
  padding: marks.Fixed[str]
  square_blocks: marks.Fixed[tuple[int, ...]]
  projection: marks.Fixed[bool]
  projection_bias: marks.Fixed[bool]
  drop_path: marks.Training[float]
  batch_norm_group: marks.Training[int]
  norm_epsilon: marks.Fixed[float]
  norm_momentum: marks.Training[float]

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.drop_path)

  @property
  def stem_channels(self) -> int:
    """Channels after the first convolution."""
    return self.stem_width if self.fixed_ends else self._round(self.stem_width)

  @property
  def shapes(self) -> tuple[StageShape, ...]:
    """Shapes of the stages after scaling."""
    shapes, num_in, start = [], self.stem_channels, 0
    for i, (repeats, size, stride, expand, width) in enumerate(self.stages):
      depth, width = math.ceil(self.depth_factor * repeats), self._round(width)
      if self.fixed_ends and i in (0, len(self.stages) - 1):
        depth = repeats
      shapes.append(
        StageShape(num_in, width, depth, size, stride, expand, start)
      )
      num_in, start = width, start + depth
    return tuple(shapes)

  @property
  def num_blocks(self) -> int:
    return self.shapes[-1].start + self.shapes[-1].depth

  @property
  def out_width(self) -> int:
    """Channels that are pooled."""
    if not self.head_width:
      return self.shapes[-1].width
    return self.head_width if self.fixed_ends else self._round(self.head_width)

  def _round(self, width: int) -> int:
    """Scale a number of channels, losing no more than a tenth by rounding."""
    scaled = width * self.width_factor
    rounded = int(scaled + _DIVISOR / 2) // _DIVISOR * _DIVISOR
    rounded = max(_DIVISOR, rounded)
    return rounded + _DIVISOR if rounded < 0.9 * scaled else rounded

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    for stage in self.stages:
      if len(stage) != 5 or min(stage) < 1 or stage[2] > 2:
        checks.refuse(
          "model.image.stages must be (repeats, kernel size, stride, expansion,"
          f" channels) of each stage, strides 1 or 2; got {stage}"
        )
    checks.above("model.image.width_factor", self.width_factor, 0)
    checks.above("model.image.depth_factor", self.depth_factor, 0)
    checks.between("model.image.squeeze", self.squeeze, 0, 1)
    checks.one_of("model.image.activation", self.activation, layers.ACTIVATIONS)
    checks.one_of("model.image.padding", self.padding, convolution.PADDINGS)
    checks.in_range("model.image.drop_path", self.drop_path, 0, 1)
    if not self.projection and self.out_width != embed_dim:
      checks.refuse(
        f"model.embed_dim must equal the {self.out_width} channels that are"
        f" pooled where model.image.projection=False; got {embed_dim}"
      )
    batch_norm.check("model.image", self)


class ConvNorm(nnx.Module):
  """Convolution, normalisation and activation: the tower's first and last."""

  def __init__(self, conv: nnx.Module, norm: nnx.Module, activation: str):
    self.conv = conv
    self.norm = norm
    self.activation = activation

  def __call__(
    self, x_bYXC: jax.Array, stats: batch_norm.Statistics | None
  ) -> jax.Array:
    x_bYXC = self.norm(self.conv(x_bYXC), batch_norm.inside(stats, "norm"))
    return layers.ACTIVATIONS[self.activation](x_bYXC)


class Block(nnx.Module):
  """Inverted bottleneck: expand, convolve each channel, squeeze, project."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    *,
    size: int,
    stride: int,
    expand: int,
    padding: str,
    squeeze: float,
    activation: str,
    norm,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    conv = functools.partial(convolution.Conv, size=1, dtype=dtype, rngs=rngs)
    width = num_in * expand
    self.expand = conv(num_in, width) if expand > 1 else None
    self.expand_norm = norm(width) if expand > 1 else None
    self.depthwise = convolution.DepthwiseConv(
      width, size, stride=stride, padding=padding, dtype=dtype, rngs=rngs
    )
    self.depthwise_norm = norm(width)
    # A share of the block's input channels, not of the expanded ones.
    squeezed = max(1, int(num_in * squeeze))
    self.squeeze = conv(width, squeezed, use_bias=True) if squeeze else None
    self.excite = conv(squeezed, width, use_bias=True) if squeeze else None
    self.project = conv(width, num_out)
    self.project_norm = norm(num_out)
    self.activation = activation
    self.adds = stride == 1 and num_in == num_out

  def __call__(
    self,
    x_bYXC: jax.Array,
    stats: batch_norm.Statistics | None,
    keys_b: jax.Array | None = None,
    rate: jax.Array | float = 0.0,
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    activation = layers.ACTIVATIONS[self.activation]
    y_bYXC = x_bYXC
    if self.expand is not None and self.expand_norm is not None:
      y_bYXC = self.expand_norm(self.expand(y_bYXC), inside("expand_norm"))
      y_bYXC = activation(y_bYXC)
    y_bYXC = self.depthwise(y_bYXC)
    y_bYXC = activation(self.depthwise_norm(y_bYXC, inside("depthwise_norm")))
    if self.squeeze is not None and self.excite is not None:
      gate_b11C = jnp.mean(y_bYXC, axis=(1, 2), keepdims=True)
      gate_b11C = self.excite(activation(self.squeeze(gate_b11C)))
      y_bYXC = y_bYXC * jax.nn.sigmoid(gate_b11C)
    y_bYXC = self.project_norm(self.project(y_bYXC), inside("project_norm"))
    if not self.adds:
      return y_bYXC
    return x_bYXC + convolution.drop_path(y_bYXC, keys_b, rate)


class Stage(nnx.Module):
  """A block that may change the shape, and equal ones, stacked."""

  def __init__(
    self, shape: StageShape, *, padding: str, rngs: nnx.Rngs, **fields
  ):
    fields |= {"size": shape.size, "expand": shape.expand}
    self.first = Block(
      shape.num_in,
      shape.width,
      stride=shape.stride,
      padding=padding,
      rngs=rngs,
      **fields,
    )
    self.blocks = (
      stack.make_stack(
        lambda rngs: Block(
          shape.width,
          shape.width,
          stride=1,
          padding="square",
          rngs=rngs,
          **fields,
        ),
        shape.depth - 1,
        rngs,
      )
      if shape.depth > 1
      else None
    )
    self.shape = shape

  def __call__(
    self,
    x_bYXC: jax.Array,
    stats: batch_norm.Statistics | None,
    keys_b: jax.Array | None,
    rate_per_block: float,
    **how,
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    drawn = ()  # keys and rate of each block
    if keys_b is not None:
      indices = jnp.arange(self.shape.depth) + self.shape.start
      keys = jax.vmap(lambda index: layers.fold_in(keys_b, index))(indices)
      drawn = keys, rate_per_block * indices
    first, rest = ([x[i] for x in drawn] for i in (0, slice(1, None)))
    x_bYXC = conv_blocks.run(self.first, x_bYXC, inside("first"), *first, **how)
    if self.blocks is None:
      return x_bYXC
    return conv_blocks.scan(self.blocks, x_bYXC, inside("blocks"), *rest, **how)


class EfficientNet(nnx.Module):
  """Images to one embedding each."""

  def __init__(
    self,
    config: EfficientNetConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    norm = batch_norm.maker(config, settings.dtype)
    conv = functools.partial(convolution.Conv, dtype=settings.dtype, rngs=rngs)
    self.stem = ConvNorm(
      conv(3, config.stem_channels, 3, stride=2, padding=config.padding),
      norm(config.stem_channels),
      config.activation,
    )
    self.stages = nnx.Dict(
      {
        str(i): Stage(
          shape,
          padding=(
            "square" if shape.start in config.square_blocks else config.padding
          ),
          squeeze=config.squeeze,
          activation=config.activation,
          norm=norm,
          dtype=settings.dtype,
          rngs=rngs,
        )
        for i, shape in enumerate(config.shapes)
      }
    )
    self.head = (
      ConvNorm(
        conv(config.shapes[-1].width, config.out_width, 1),
        norm(config.out_width),
        config.activation,
      )
      if config.head_width
      else None
    )
    self.projection = tower.make_projection(
      config, config.out_width, settings, rngs
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
      images_bYXC: uint8, [b, Y, X, 3]; any size.
      keys_b: one random key an example, used in training; None draws nothing.
      stats: None to evaluate; in training, the dict that receives new running
        statistics (models/batch_norm.py).

    Returns:
      [b, E], not L2-normalised.
    """
    inside = functools.partial(batch_norm.inside, stats)
    how = self.settings.block_args
    if not self.config.drop_path:
      keys_b = None
    rate_per_block = self.config.drop_path / self.config.num_blocks
    x_bYXC = self.settings.normalise(images_bYXC)
    x_bYXC = conv_blocks.run(self.stem, x_bYXC, inside("stem"), **how)
    for name, stage in self.stages.items():
      stage_stats = batch_norm.inside(inside("stages"), name)
      x_bYXC = stage(x_bYXC, stage_stats, keys_b, rate_per_block, **how)
    if self.head is not None:
      x_bYXC = conv_blocks.run(self.head, x_bYXC, inside("head"), **how)
    x_bC = jnp.mean(x_bYXC, axis=(1, 2))
    return x_bC if self.projection is None else self.projection(x_bC)
