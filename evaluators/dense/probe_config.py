"""Training of a probe's head: fields, and their values by kind of set.

Values that are called DINOv2's are those of its configs for ViT-B/14, as
Denoising-ViT keeps them (Jiawei-Yang/Denoising-ViT, evaluation/configs).
"""

import dataclasses
import math

import numpy as np

from evaluators.dense import dense_set
from runtime import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
  """Training of a head.

  Attributes:
    num_steps: updates; ours (DINOv2: 40,000 for masks and 38,400 for depths, of
      augmented images).
    batch_size: images a step (DINOv2: 8 devices of 2).
    learning_rates: rates that are tried; ours.
    held_out: share of the training images that judges them; ours.
    warmup: share of the steps in which the rate rises from 0, to fall to 0
      afterwards, both linearly (DINOv2's masks: 1,500 of 40,000).
    weight_decay: decoupled, of the affine map's weights alone; that biases and
      norms have none is ours.
    batch_norm: whether tokens are normalised over the batch.
    with_pooled: whether the image's embedding is appended to each token.
    upsample: factor by which a depth head enlarges the grid of tokens.
    num_bins: bins of depth.
    target_side: side of the training maps in pixels; 0 for that of the tower's
      images.
    memory_gib: most memory for the features of the training images. Those that
      do not fit are computed anew for each batch.
    seed: seed of the first weights and of the order of the images.
  """

  num_steps: int = 4000
  batch_size: int = 16
  learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
  held_out: float = 0.2
  warmup: float = 0.0375
  weight_decay: float = 1e-4
  batch_norm: bool = True
  with_pooled: bool = False
  upsample: int = 4
  num_bins: int = 256
  target_side: int = 0
  memory_gib: float = 8.0
  seed: int = 0

  @checks.collected()
  def check(self, field: str = "probe") -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    for name in ("num_steps", "batch_size", "upsample"):
      checks.at_least(f"{field}.{name}", getattr(self, name), 1)
    checks.at_least(f"{field}.num_bins", self.num_bins, 2)
    for name in ("weight_decay", "target_side", "memory_gib", "seed"):
      checks.at_least(f"{field}.{name}", getattr(self, name), 0)
    checks.in_range(f"{field}.warmup", self.warmup, 0, 1)
    checks.above(f"{field}.held_out", self.held_out, 0)
    checks.in_range(f"{field}.held_out", self.held_out, 0, 1)
    rates = self.learning_rates
    if not rates or not all(0 < x < math.inf for x in rates):
      checks.refuse(
        f"{field}.learning_rates must be numbers above 0; got {rates}"
      )


# Training by kind of set. Depths: DINOv2's linear head has no norm and appends
# the class token (arXiv 2304.07193, 7.4), here the image's embedding.
DEFAULTS = {
  dense_set.SEGMENTATION: ProbeConfig(),
  dense_set.DEPTH: ProbeConfig(
    batch_norm=False, with_pooled=True, weight_decay=1e-2
  ),
}


def changed(config: ProbeConfig, kind: str) -> list[str]:
  """Return the fields that make figures others than those of the defaults.

  >>> changed(ProbeConfig(num_steps=10, memory_gib=1.0), "segmentation")
  ['num_steps']
  """
  default = dataclasses.asdict(DEFAULTS[kind])
  return [
    name
    for name, value in dataclasses.asdict(config).items()
    if value != default[name] and name != "memory_gib"
  ]


def rates(config: ProbeConfig, highest: float) -> np.ndarray:
  """Return the learning rate of each step: float32 [num_steps].

  >>> rates(ProbeConfig(num_steps=4, warmup=0.5), 1.0).tolist()
  [0.5, 0.75, 0.5, 0.25]
  """
  step = np.arange(config.num_steps)
  warmup = max(config.warmup * config.num_steps, 1)
  rise, fall = (step + 1) / warmup, 1 - step / config.num_steps
  return (highest * np.minimum(rise, 1) * fall).astype(np.float32)
