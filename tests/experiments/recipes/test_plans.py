"""Plans as files, and their figures."""

import pytest

from experiments.recipes import plans, recipes
from runtime import failures

RECIPE = recipes.RECIPES["clip_vit_b32"]


def _step(**fields):
  return {
    "fits": True,
    "chips": 256,
    "mesh": {"data": 256, "fsdp": 1, "tensor": 1},
    "needs_gib": 3.0,
    "hbm_gib": 15.75,
    "num_parameters": 151_277_313,
    "batch_size": 32_768,
    "compiled_tflop": 100.0,
    "step_s_bound": 0.5,
    "mfu_bound": 0.4,
    "compile_s": 30.0,
    **fields,
  }


def test_figures_of_a_step():
  got = plans.figures(RECIPE, _step())
  assert got["step_tflop"] == 100.0
  assert got["images_per_s_bound"] == 65_536
  # 12.8e9 pairs at 65,536 a second on 256 chips.
  assert got["chip_hours_bound"] == pytest.approx(
    12.8e9 / 65_536 * 256 / 3600, rel=1e-12
  )
  assert got["memory_gib"] == 3.0
  assert got["fits"] is True


def test_figures_of_phases_are_of_all_steps():
  first = _step(steps=90)
  last = _step(steps=10, step_s_bound=2.0, needs_gib=9.0, mfu_bound=0.2)
  plan = {"fits": True, "phases": {"first": first, "last": last}, "run": {}}
  got = plans.figures(RECIPE, plan)
  seconds = 90 * 0.5 + 10 * 2.0
  assert got["memory_gib"] == 9.0
  assert got["images_per_s_bound"] == pytest.approx(100 * 32_768 / seconds)
  assert got["mfu_bound"] == pytest.approx((90 * 0.2 + 10 * 0.4) / seconds)
  assert got["chip_hours_bound"] == pytest.approx(seconds * 256 / 3600)


def test_a_step_that_does_not_fit_has_no_hours():
  plan = _step(fits=False, needs_gib=20.0)
  del plan["step_s_bound"]
  got = plans.figures(RECIPE, plan)
  assert got["fits"] is False
  assert got["memory_gib"] == 20.0
  assert got["chip_hours_bound"] is got["mfu_bound"] is None


def test_written_and_read(tmp_path):
  assert plans.read(tmp_path, "x") is None
  record = {"recipe": "x", "plan": _step()}
  plans.write(tmp_path, record)
  assert plans.read(tmp_path, "x") == record
  (tmp_path / "y.json").write_bytes((tmp_path / "x.json").read_bytes())
  with pytest.raises(failures.RunError, match="no plan of y: it is of another"):
    plans.read(tmp_path, "y")
  (tmp_path / "x.json").write_text('{"recipe": "x"')
  with pytest.raises(failures.RunError, match="no plan of x"):
    plans.read(tmp_path, "x")
