"""Phases of a run: `config.phases`, each with the fields that it changes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections


@dataclasses.dataclass(frozen=True)
class Phase:
  """A stretch of a run's steps.

  Attributes:
    name: name in metrics, messages and flags.
    steps: number of its steps.
    changes: part of a config, as {"data": {"image_size": 384}}: fields that
      have other values from its first step on. A source that is None is left
      out.
    own_schedule: whether a schedule of the learning rate begins with it; False
      goes on with that of the phase before.
    stretch: steps of the phase that are one step of the schedule.
  """

  name: str
  steps: int
  changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  own_schedule: bool = False
  stretch: float = 1.0


def set_phases(config: ml_collections.ConfigDict, *phases: Phase) -> None:
  """Set the phases of a run, and its number of steps.

  The last phase has until=0: it goes to total_steps, which may be raised.
  """
  end = 0
  config.phases = ml_collections.ConfigDict()
  for phase in phases:
    end += phase.steps
    config.phases[phase.name] = section(
      0 if phase is phases[-1] else end,
      phase.changes,
      phase.own_schedule,
      phase.stretch,
    )
  config.total_steps = end


def section(
  until: int,
  changes: Mapping[str, Any],
  own_schedule: bool = False,
  stretch: float = 1.0,
) -> ml_collections.ConfigDict:
  """Return the section of a phase, `config.phases.NAME`."""
  config = ml_collections.ConfigDict()
  # Step at which the phase ends and the next one begins; 0: the last step.
  config.until = until
  # True: the learning rate's schedule begins anew (its warmup too), for the
  # steps up to the next phase that has one of its own.
  config.own_schedule = own_schedule
  # Steps of the phase that are one step of the schedule of the learning rate:
  # 3.75 goes through its part of the schedule in 3.75 times as many steps.
  config.stretch = stretch
  # Fields that have other values from the phase's first step on, nested as the
  # config is. training/phase_config.py lists those that can change.
  config.changes = ml_collections.ConfigDict(dict(changes))
  return config
