"""Plan of a run with phases: the plan of each phase's step, and their sum."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from training import config as config_lib

# Fields in which two phases may differ whose steps cost the same.
_SAME_COST = re.compile(
  r"data\.(sources|leave_out|languages|max_caption_chars|cut_captions)(\..*)?"
  r"|optimizer\.(learning_rate|weight_decay|schedule|factors|\w+_steps"
  r"|final_fraction)"
)


def make(
  config: config_lib.Config,
  make_plan: Callable[[config_lib.Config], dict[str, Any]],
) -> dict[str, Any]:
  """Return the plans of a run's phases and of the whole run, ready for JSON.

  Args:
    config: checked, with phases.
    make_plan: fields in force in a phase -> plan of its step. It is called once
      for phases whose steps cost the same.

  Returns:
    {"fits": ..., "phases": {name: plan}, "run": sum}. A plan has the number of
    its phase's steps, "steps", besides.
  """
  made: list[tuple[config_lib.Config, dict[str, Any]]] = []
  phases = {}
  for stage in config_lib.stages(config):
    plan = next(
      (x for other, x in made if _costs_the_same(other, stage.config)), None
    )
    if plan is None:
      plan = make_plan(stage.config)
      made.append((stage.config, plan))
    phases[stage.name] = plan | {"steps": stage.end - stage.first_step}
  plans = [*phases.values()]
  return {
    "fits": all(plan["fits"] for plan in plans),
    "phases": phases,
    "run": _sum(plans),
  }


def _sum(plans: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Return the cost of all steps; None where a plan does not say it."""

  def total(field: str) -> float | None:
    values = [plan[field] for plan in plans]
    if any(value is None for value in values):
      return None
    steps = [plan["steps"] for plan in plans]
    return sum(x * n for x, n in zip(values, steps, strict=True))

  tflop, seconds = total("model_tflop"), total("step_s_bound")
  hours = None if seconds is None else seconds / 3600
  return {
    "steps": sum(plan["steps"] for plan in plans),
    "images": total("batch_size"),
    "model_exaflop": None if tflop is None else tflop / 1e6,
    "hours_bound": hours,
    "chip_hours_bound": None if hours is None else hours * plans[0]["chips"],
  }


def _costs_the_same(one: config_lib.Config, other: config_lib.Config) -> bool:
  """Return whether the steps of two phases are one program but for numbers."""
  return all(
    _SAME_COST.fullmatch(name) for name in config_lib.differences(one, other)
  )
