"""Kinds of training, each with its batch, model and loss."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

import losses
from training import config as config_lib
from training.objectives import (
  classes,
  clipbert,
  detection,
  joint,
  meter,
  objective,
  pairs,
)

MakeFn = Callable[[config_lib.Config], objective.Objective]
# Key of config.loss.name -> function that makes its objective.
OBJECTIVES: Mapping[str, MakeFn] = {
  **dict.fromkeys(losses.LOSSES, pairs.make),
  losses.CLASSES: classes.make,
}
# Value of config.fusion.kind -> the same, in place of the loss's.
FUSED: Mapping[str, MakeFn] = {"clipbert": clipbert.make, "meter": meter.make}


def make(config: config_lib.Config) -> objective.Objective:
  """Return the objective of a config's sections, or of its loss."""
  if config.detection.is_on:
    return detection.make(config)
  if config.fusion.kind:
    return FUSED[config.fusion.kind](config)
  if joint.is_on(config):
    return joint.make(config)
  return OBJECTIVES[config.loss.name](config)


def variable_shapes(config: config_lib.Config) -> dict[str, Any]:
  """Return parameters and running statistics of a run as ShapeDtypeStructs.

  They are a nested dict, as its checkpoints hold them: those of the model, and
  of the parts that learn beside it (dual_encoder.PARTS).
  """
  return jax.eval_shape(make(config).init_params, jax.random.key(0))
