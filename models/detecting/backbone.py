"""Image tower and detector: pictures to outputs at each position.

A tower is a backbone if it has `pyramid(images, keys)`, the output of each of
its four stages; the last three have the strides 8, 16 and 32.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from models import batch_norm, dual_encoder, resnet
from models.detecting import detector
from runtime import checks

# Tower -> function from its config to the channels of each stage.
WIDTHS: Mapping[str, Callable[[Any], Sequence[int]]] = types.MappingProxyType(
  {
    "resnet": lambda config: [
      config.width * resnet.EXPANSION * 2**i for i in range(len(config.depths))
    ],
    "convnext": lambda config: config.widths,
    "swin": lambda config: config.widths,
  }
)
# Tower -> first parts, below "img", of the paths of the parameters that its
# pyramid does not use.
UNUSED: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
  {
    "resnet": ("position", "attn"),
    "convnext": ("norm", "hidden", "projection"),
    "swin": ("norm", "projection"),
  }
)
NUM_STAGES = 4
_NUM_MAPS = 3
# Pixels of a side that become one of the coarsest stage.
STRIDE = 32


class PictureDetector(nnx.Module):
  """Image tower of a dual encoder, and a detector on its pyramid."""

  def __init__(
    self,
    config: detector.DetectorConfig,
    towers: dual_encoder.ModelConfig,
    num_classes: int,
    *,
    rngs: nnx.Rngs,
    batch_axes: tuple[str, ...] = (),
  ):
    """Make the parameters.

    Args:
      config: checked.
      towers: model whose image tower is used, accepted by `check`; its text
        tower is not made.
      num_classes: J; 1 for a detector of objects of any class.
      rngs: random stream "params".
      batch_axes: as in stack.encode.
    """
    image: Any = towers.image
    self.img = dual_encoder.DualEncoder(
      dataclasses.replace(towers, text=None), rngs=rngs, batch_axes=batch_axes
    ).img
    self.detector = detector.Detector(
      config,
      WIDTHS[image.tower](image)[-_NUM_MAPS:],
      num_classes,
      dtype=towers.dtype,
      remat=towers.remat,
      rngs=rngs,
    )

  def __call__(
    self,
    images_bYXC: jax.Array,
    keys_b: jax.Array | None = None,
    stats: batch_norm.Statistics | None = None,
  ) -> detector.Outputs:
    """Return the outputs of pictures.

    Args:
      images_bYXC: uint8, sides multiples of STRIDE.
      keys_b: one random key a picture, in training; None draws nothing.
      stats: dict that receives new running statistics of a tower with batch
        norm, in training; None otherwise.
    """
    img: Any = self.img
    args = () if stats is None else (stats,)
    maps = img.pyramid(images_bYXC, keys_b, *args)
    return self.detector(maps[-_NUM_MAPS:])


def check(towers: dual_encoder.ModelConfig) -> None:
  """Raise ValueError for a model whose image tower has no pyramid."""
  image: Any = towers.image
  tower = None if image is None else image.tower
  checks.one_of("model.image.tower", tower, UNUSED)
  if tower in UNUSED and len(image.depths) != NUM_STAGES:
    checks.refuse(
      f"model.image.depths must be those of {NUM_STAGES} stages for a detector;"
      f" got {image.depths}"
    )
