"""Plans of steps by number of patches, and their mean."""

import pytest

from tests import tiny_naflex
from training import config as config_lib
from training.plan import count_plans, plan_table


def _make(seconds=0.1, **changes):
  """Return the mean plan of NaFlex's phase, and the counts compiled for."""
  compiled = []

  def plan_of(config):
    (count,) = config.data.augmentation.patch_counts
    compiled.append((count, config.num_largest_updates))
    size = count / 6  # 1 and 2
    return {
      **dict.fromkeys(count_plans._MEANS, size),
      "fits": True,
      "batch_size": config.batch_size,
      "peak_gib": size,
      "compile_s": 3.0,
      "step_s_bound": seconds and size * seconds,
      "mfu_bound": seconds and 0.5,
      "seconds": {"compute": size * 0.1, "hbm": 0.3 - 0.1 * size},
      **changes,
    }

  stages = config_lib.stages(
    config_lib.checked(tiny_naflex.get_config().to_dict())
  )
  return count_plans.make(stages[1].config, plan_of), compiled


def test_each_number_is_planned_once_and_the_mean_is_theirs():
  made, compiled = _make()
  assert compiled == [(6, 1), (12, 2)]
  assert list(made["by_count"]) == ["6", "12"]
  assert made["peak_gib"] == 2, "that of the largest"
  assert made["model_tflop"] == 1.5
  assert made["images_per_s_bound"] == pytest.approx(4 / 0.15)
  assert made["mfu_bound"] == pytest.approx(0.5)
  assert made["seconds"] == pytest.approx({"compute": 0.15, "hbm": 0.15})
  assert made["compile_s"] == 6


def test_a_mean_of_unknown_figures_is_unknown():
  made, _ = _make(seconds=None)
  assert made["step_s_bound"] is None
  assert made["images_per_s_bound"] is None
  made, _ = _make(fits=False)
  assert not made["fits"]
  lines = list(plan_table._counts(made | {"by_count": {}}))
  assert any("1.5 TFLOP" in line for line in lines)
