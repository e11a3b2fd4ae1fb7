"""Plans of a run's phases, and their sum."""

import pytest

from tests import tiny_phases
from training import config as config_lib
from training.plan import phase_plans


def _make(**changes):
  """Return the plans of tiny_phases.py, and the image sizes compiled for."""
  compiled = []

  def plan_of(config):
    compiled.append(config.data.image_size)
    figures = {"fits": True, "chips": 4, "batch_size": config.batch_size}
    return figures | {"model_tflop": 2.0, "step_s_bound": 0.5} | changes

  config = config_lib.checked(tiny_phases.get_config().to_dict())
  return phase_plans.make(config, plan_of), compiled


def test_phases_that_cost_the_same_are_compiled_once():
  made, compiled = _make()
  assert compiled == [16, 24]
  assert [x["steps"] for x in made["phases"].values()] == [6, 6, 4]
  assert list(made["phases"]) == ["prompted", "plain", "large"]


def test_the_sum_is_that_of_all_steps():
  made, _ = _make()
  assert made["fits"]
  assert made["run"] == pytest.approx(
    {
      "steps": 16,
      "images": 12 * 8 + 4 * 4,
      "model_exaflop": 16 * 2 / 1e6,
      "hours_bound": 16 * 0.5 / 3600,
      "chip_hours_bound": 16 * 0.5 / 3600 * 4,
    }
  )


def test_a_sum_of_unknown_parts_is_unknown():
  made, _ = _make(step_s_bound=None, fits=False)
  assert not made["fits"]
  assert made["run"]["chip_hours_bound"] is None
  assert made["run"]["model_exaflop"] is not None
