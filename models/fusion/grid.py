"""Grid features: a ResNet's last feature map instead of one embedding.

This is ResNet (arXiv 1512.03385) as detectors and torchvision have it, unlike
CLIP's (models/resnet.py): a 7 x 7 stem, a maximum pool, strides inside of the
blocks. Source of grid features: arXiv 2001.03615, for ClipBERT with dilation 1
in the last stage, so that a cell is 32 pixels wide.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import batch_norm, conv_blocks, convolution, resnet
from runtime import checks, marks

# Ratio of image side to grid.
STRIDE = 32
CHANNELS = ("rgb", "bgr")
# Blocks' first convolution with a stride: Caffe's ResNets (MSRA) and with them
# detectron2's have it in the first, torchvision's in the second.
STRIDES_IN = ("conv1", "conv2")


@dataclasses.dataclass(frozen=True)
class GridConfig:
  """Fields of `config.fusion.cnn`; configs/parts/fusion.py explains them."""

  width: marks.Fixed[int] = 64
  depths: marks.Fixed[tuple[int, ...]] = (3, 4, 6, 3)
  strides_in: marks.Fixed[str] = "conv1"
  channels: marks.Fixed[str] = "bgr"
  pixel_mean: marks.Fixed[tuple[float, ...]] = (123.675, 116.28, 103.53)
  pixel_std: marks.Fixed[tuple[float, ...]] = (1.0, 1.0, 1.0)
  frozen_norm: marks.Fixed[bool] = True
  batch_norm_group: marks.Training[int] = 0
  norm_epsilon: marks.Fixed[float] = 1e-5
  norm_momentum: marks.Training[float] = 0.9

  @property
  def out_width(self) -> int:
    """Channels of the grid."""
    return self.width * resnet.EXPANSION * 2 ** (len(self.depths) - 1)

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    section = "fusion.cnn"
    checks.at_least(f"{section}.width", self.width, 1)
    if len(self.depths) != 4 or min(self.depths) < 1:
      checks.refuse(
        f"{section}.depths must be the blocks of 4 stages, at least 1 each;"
        f" got {self.depths}"
      )
    checks.one_of(f"{section}.strides_in", self.strides_in, STRIDES_IN)
    checks.one_of(f"{section}.channels", self.channels, CHANNELS)
    for field in ("pixel_mean", "pixel_std"):
      value = getattr(self, field)
      if len(value) != 3:
        checks.refuse(
          f"{section}.{field} must have 3 numbers, for red, green and blue; got"
          f" {value}"
        )
    if min(self.pixel_std, default=1) <= 0:
      checks.refuse(
        f"{section}.pixel_std must be above 0; got {self.pixel_std}"
      )
    batch_norm.check(section, self)


class Bottleneck(nnx.Module):
  """Residual block of three convolutions, one of them with the stride."""

  def __init__(
    self,
    num_in: int,
    width: int,
    *,
    stride: int,
    strides_in: str,
    norm,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    num_out = width * resnet.EXPANSION
    conv = functools.partial(convolution.Conv, dtype=dtype, rngs=rngs)
    strides = {name: stride if name == strides_in else 1 for name in STRIDES_IN}
    self.conv1 = conv(num_in, width, 1, stride=strides["conv1"])
    self.norm1 = norm(width)
    self.conv2 = conv(width, width, 3, stride=strides["conv2"])
    self.norm2 = norm(width)
    self.conv3 = conv(width, num_out, 1)
    self.norm3 = norm(num_out)
    changes = stride > 1 or num_in != num_out
    self.shortcut = conv(num_in, num_out, 1, stride=stride) if changes else None
    self.shortcut_norm = norm(num_out) if changes else None

  def __call__(
    self, x_bYXC: jax.Array, stats: batch_norm.Statistics | None
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    y_bYXC = jax.nn.relu(self.norm1(self.conv1(x_bYXC), inside("norm1")))
    y_bYXC = jax.nn.relu(self.norm2(self.conv2(y_bYXC), inside("norm2")))
    y_bYXC = self.norm3(self.conv3(y_bYXC), inside("norm3"))
    if self.shortcut is not None and self.shortcut_norm is not None:
      x_bYXC = self.shortcut(x_bYXC)
      x_bYXC = self.shortcut_norm(x_bYXC, inside("shortcut_norm"))
    return jax.nn.relu(x_bYXC + y_bYXC)


class Stem(nnx.Module):
  """Convolution and maximum pool: a quarter of the height and width."""

  def __init__(self, width: int, *, norm, dtype: str, rngs: nnx.Rngs):
    self.conv = convolution.Conv(3, width, 7, stride=2, dtype=dtype, rngs=rngs)
    self.norm = norm(width)

  def __call__(
    self, x_bYXC: jax.Array, stats: batch_norm.Statistics | None
  ) -> jax.Array:
    inside = functools.partial(batch_norm.inside, stats)
    x_bYXC = jax.nn.relu(self.norm(self.conv(x_bYXC), inside("norm")))
    return convolution.max_pool(x_bYXC, 3, stride=2, padding=1)


class GridResNet(nnx.Module):
  """Images to a grid of features, 32 pixels a cell."""

  def __init__(self, config: GridConfig, *, dtype: str, rngs: nnx.Rngs):
    norm = functools.partial(
      batch_norm.BatchNorm,
      group=config.batch_norm_group,
      epsilon=config.norm_epsilon,
      momentum=config.norm_momentum,
      dtype=dtype,
      frozen=config.frozen_norm,
    )
    fields = {"norm": norm, "dtype": dtype, "rngs": rngs}
    self.stem = Stem(config.width, **fields)
    widths = [config.width * 2**i for i in range(len(config.depths))]
    inputs = [config.width] + [
      width * resnet.EXPANSION for width in widths[:-1]
    ]
    self.stages = nnx.Dict(
      {
        str(i): resnet.Stage(
          inputs[i],
          widths[i],
          depth,
          stride=1 if i == 0 else 2,
          block=Bottleneck,
          strides_in=config.strides_in,
          **fields,
        )
        for i, depth in enumerate(config.depths)
      }
    )
    self.config = config
    self.dtype = dtype

  def __call__(
    self,
    images_bYXC: jax.Array,
    stats: batch_norm.Statistics | None = None,
    *,
    remat: str = "none",
    batch_axes: tuple[str, ...] = (),
  ) -> jax.Array:
    """Return the last stage's feature map.

    Args:
      images_bYXC: uint8 RGB, height and width of 32 pixels or more.
      stats: as in models/resnet.py.
      remat: key of conv_blocks.REMATS.
      batch_axes: as in stack.encode.

    Returns:
      [b, Y / 32, X / 32, out_width], sides rounded up.
    """
    inside = functools.partial(batch_norm.inside, stats)
    how = {"remat": remat, "batch_axes": batch_axes}
    x_bYXC = normalised(images_bYXC, self.config).astype(self.dtype)
    x_bYXC = conv_blocks.run(self.stem, x_bYXC, inside("stem"), **how)
    for name, stage in self.stages.items():
      stage_stats = batch_norm.inside(inside("stages"), name)
      x_bYXC = stage(x_bYXC, stage_stats, **how)
    return x_bYXC


def normalised(images_bYXC: jax.Array, config: GridConfig) -> jax.Array:
  """Return pixels less their mean, float32, channels in the order asked.

  Mean and deviation are those of red, green and blue: each channel keeps its
  own, whatever the order.

  Args:
    images_bYXC: uint8 RGB.
    config: its channels, pixel_mean and pixel_std are used.
  """
  x_bYXC = images_bYXC.astype(jnp.float32) - jnp.asarray(config.pixel_mean)
  x_bYXC = x_bYXC / jnp.asarray(config.pixel_std)
  return x_bYXC[..., ::-1] if config.channels == "bgr" else x_bYXC
