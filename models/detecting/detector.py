"""Detector of one stage: pyramid, Dynamic Head, ATSS's three outputs.

Shape letters beside those of models/layers.py: A positions of all levels, one
anchor each, J classes.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from models import conv_blocks, convolution, stack
from models.detecting import anchors, dynamic_head, pyramid
from runtime import checks, marks

# Probability of an object at each position at first (RetinaNet, arXiv
# 1708.02002, section 4.1).
PRIOR = 0.01
_INIT = jax.nn.initializers.normal(0.01)


@dataclasses.dataclass(frozen=True)
class DetectorConfig:
  """Fields of `config.detection.model`; configs/base.py explains them."""

  width: marks.Fixed[int] = 256
  num_blocks: marks.Fixed[int] = 6
  anchor_scale: marks.Fixed[float] = 8.0
  scan_blocks: marks.Training[bool] = True

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    groups = dynamic_head.NUM_GROUPS
    if self.width < groups or self.width % groups:
      checks.refuse(
        f"detection.model.width must be a multiple of the {groups} groups that"
        f" are normalised; got {self.width}"
      )
    checks.at_least("detection.model.num_blocks", self.num_blocks, 0)
    checks.above("detection.model.anchor_scale", self.anchor_scale, 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outputs:
  """Outputs at the positions of all levels, in the order of the anchors.

  Attributes:
    logit_bAJ: logits of each class, float32.
    delta_bA4: boxes as boxes.encode has them, float32.
    centre_bA: logits of the centerness, float32.
  """

  logit_bAJ: jax.Array
  delta_bA4: jax.Array
  centre_bA: jax.Array


class Detector(nnx.Module):
  """Feature maps of an image tower to outputs at each position."""

  def __init__(
    self,
    config: DetectorConfig,
    widths: Sequence[int],
    num_classes: int,
    *,
    dtype: str,
    remat: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters.

    Args:
      config: checked.
      widths: channels of the tower's maps of strides 8, 16 and 32.
      num_classes: J; 1 for a detector of objects of any class.
      dtype: type of the arithmetic.
      remat: a key of conv_blocks.REMATS, for the blocks.
      rngs: random stream "params".
    """
    width = config.width
    self.pyramid = pyramid.Pyramid(widths, width, dtype=dtype, rngs=rngs)
    self.blocks = (
      stack.make_stack(
        lambda rngs: dynamic_head.Block(width, dtype=dtype, rngs=rngs),
        config.num_blocks,
        rngs,
      )
      if config.num_blocks
      else None
    )
    self.remat = remat
    self.unroll = 1 if config.scan_blocks else max(config.num_blocks, 1)
    # Maps of one position each (ours, where ATSS without Dynamic Head has
    # convolutions of 3 x 3).
    conv = functools.partial(
      convolution.Conv,
      width,
      size=1,
      use_bias=True,
      init=_INIT,
      dtype=dtype,
      rngs=rngs,
    )
    self.logits = conv(num_out=num_classes)
    self.logits.bias = nnx.Param(
      jnp.full((num_classes,), -math.log((1 - PRIOR) / PRIOR))
    )
    self.deltas = conv(num_out=4)
    self.centres = conv(num_out=1)
    # Factor of the deltas of each level.
    self.level_scales = nnx.Param(jnp.ones((len(anchors.LEVELS),)))

  def __call__(self, maps: Sequence[jax.Array]) -> Outputs:
    """Return the outputs.

    Args:
      maps: feature maps [b, Y, X, C] of strides 8, 16 and 32, finest first.
    """
    levels = self.pyramid(maps)
    levels = self.run_blocks(levels)
    scale_P = self.level_scales[...]
    return Outputs(
      _joined([self.logits(x) for x in levels]),
      _joined(
        [
          self.deltas(x).astype(jnp.float32) * scale_P[i]
          for i, x in enumerate(levels)
        ]
      ),
      _joined([self.centres(x) for x in levels])[..., 0],
    )

  def run_blocks(self, levels: Sequence[jax.Array]) -> Sequence[jax.Array]:
    """Return the levels after all blocks.

    Args:
      levels: maps of the pyramid, finest first, [b, Y, X, C] each.
    """
    if self.blocks is None:
      return levels

    def body(levels, block):
      return tuple(block(levels)), None

    policy = conv_blocks.REMATS[self.remat]
    if policy is not None:
      body = jax.checkpoint(body, prevent_cse=False, policy=policy)
    return jax.lax.scan(body, tuple(levels), self.blocks, unroll=self.unroll)[0]


def _joined(levels: Sequence[jax.Array]) -> jax.Array:
  """Return the positions of all levels in one axis, float32 [b, A, ...]."""
  return jnp.concatenate(
    [x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1]) for x in levels],
    axis=1,
  )
