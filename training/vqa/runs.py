"""Runs of --task=vqa by the part of a model that they train."""

import types
from collections.abc import Mapping

from input_pipeline.questions import question_data
from training import config as config_lib
from training.vqa import pretraining, router_run, run

# Value of vqa.trains -> module with `check` and `run`.
RUNS: Mapping[str, types.ModuleType] = types.MappingProxyType(
  {
    question_data.ANSWERS: run,
    question_data.AUTOENCODER: pretraining,
    question_data.ROUTER: router_run,
  }
)


def of(config: config_lib.Config) -> types.ModuleType:
  """Return the run of a config; another value is refused by its checks."""
  return RUNS.get(config.vqa.trains, run)
