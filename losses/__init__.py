"""Contrastive losses over pairs of L2-normalised embeddings.

Each module has `reference` (the definition, for one device) and `sharded` (the
same for rows split over devices, in bounded memory; see sharded.ShardedLoss).
"""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from losses import sigmoid, softmax, unicl
from runtime import checks, marks

LOSSES: Mapping[str, Any] = types.MappingProxyType(
  {"sigmoid": sigmoid, "softmax": softmax, "unicl": unicl}
)
# Loss of labels in place of pairs (training/objectives/classes.py).
CLASSES = "classes"
SCOPES = ("global", "device", "microbatch")

# (zimg_BE, ztxt_BE, scale, bias, labels_B) -> loss
LossFn = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Fields of `config.loss`; configs/base.py explains them."""

  name: marks.Fixed[str]
  label_smoothing: marks.Fixed[float]
  block_size: marks.Free[int]
  scope: marks.Fixed[str]
  weight: marks.Training[float] = 1.0

  @property
  def has_pairs(self) -> bool:
    """Say whether pairs are compared at all."""
    return self.weight > 0

  @property
  def needs_labels(self) -> bool:
    """Say whether a batch must hold "labels" of its captions."""
    return self.has_pairs and self.name in ("unicl", CLASSES)

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    checks.one_of("loss.name", self.name, (*LOSSES, CLASSES))
    LOSSES.get(self.name, softmax).check(self.label_smoothing)
    checks.at_least("loss.block_size", self.block_size, 1)
    checks.one_of("loss.scope", self.scope, SCOPES)
    checks.at_least("loss.weight", self.weight, 0)


def make_loss(config: LossConfig, axis_names: Sequence[str]) -> LossFn:
  """Make a function from rows to their loss, for the mesh in use.

  With scope "device", the loss is the mean of each device's loss on its own
  rows. With the other scopes it compares all rows that it receives: the caller
  passes a whole batch or one micro-batch.

  Args:
    config: checked, of a loss of pairs.
    axis_names: mesh axes that the rows are split over, in order.
  """
  sharded = LOSSES[config.name].sharded

  def loss_fn(zimg_BE, ztxt_BE, scale, bias, labels_B=None):
    return sharded(
      zimg_BE,
      ztxt_BE,
      scale=scale,
      bias=bias,
      labels_B=labels_B,
      axis_names=axis_names,
      block_size=config.block_size,
      label_smoothing=config.label_smoothing,
      loss_axes=() if config.scope == "device" else None,
    )

  return loss_fn
