"""Kinds of training, each with its batch, model and loss."""

from collections.abc import Callable, Mapping

import losses
from training import config as config_lib
from training.objectives import classes, detection, objective, pairs

MakeFn = Callable[[config_lib.Config], objective.Objective]
# Key of config.loss.name -> function that makes its objective.
OBJECTIVES: Mapping[str, MakeFn] = {
  **dict.fromkeys(losses.LOSSES, pairs.make),
  losses.CLASSES: classes.make,
}


def make(config: config_lib.Config) -> objective.Objective:
  """Return the objective of a config's boxes, or that its loss belongs to."""
  if config.detection.is_on:
    return detection.make(config)
  return OBJECTIVES[config.loss.name](config)
