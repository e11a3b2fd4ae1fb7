"""The roofline, on numbers that can be done by hand."""

import pytest

from training.plan import chips, roofline

# 100 TFLOP/s, 1000 GB/s of HBM, 100 GB/s of ICI, 10 GB/s of DCN.
_CHIP = chips.Chip(
  name="round",
  peak_gflops=100e3,
  hbm_gib=16,
  usable_hbm_gib=16,
  hbm_gb_s=1000,
  ici_gb_s=100,
  dcn_gb_s=10,
  dimensions=2,
  source="",
)
_STEP = {
  "num_chips": 4,
  "batch_size": 400,
  "chip_flops": 50e12,
  "model_flops": 150e12,
  "hbm_bytes": 100e9,
  "ici_bytes": 20e9,
  "dcn_bytes": 0.0,
}


def test_bound_by_arithmetic():
  got = roofline.make(_CHIP, **_STEP)
  assert got["seconds"] == pytest.approx(
    {"compute": 0.5, "hbm": 0.1, "ici": 0.2}
  )
  assert got["bound"] == "compute"
  assert got["step_s_bound"] == pytest.approx(0.5)
  assert got["images_per_s_bound"] == pytest.approx(800)
  # 150 of the 4 x 100 x 0.5 TFLOP that the chips could do in that time.
  assert got["mfu_bound"] == pytest.approx(0.75)


@pytest.mark.parametrize(
  ("changes", "bound", "seconds", "mfu"),
  [
    ({"hbm_bytes": 3e12}, "hbm", 3.0, 0.125),
    ({"ici_bytes": 100e9}, "ici", 1.0, 0.375),
    ({"dcn_bytes": 20e9}, "dcn", 2.0, 0.1875),
  ],
)
def test_bound_by_something_else(changes, bound, seconds, mfu):
  got = roofline.make(_CHIP, **(_STEP | changes))
  assert got["bound"] == bound
  assert got["step_s_bound"] == pytest.approx(seconds)
  assert got["images_per_s_bound"] == pytest.approx(400 / seconds)
  assert got["mfu_bound"] == pytest.approx(mfu)


def test_a_network_without_a_published_figure_is_left_out():
  chip = chips.CHIPS["v4"]
  got = roofline.make(chip, **(_STEP | {"dcn_bytes": 1e15}))
  assert set(got["seconds"]) == {"compute", "hbm", "ici"}


@pytest.mark.parametrize("chip", chips.CHIPS.values(), ids=lambda c: c.name)
def test_figures_of_chips_are_of_their_order(chip):
  assert 100e3 < chip.peak_gflops < 1e6
  assert 0.9 * chip.hbm_gib < chip.usable_hbm_gib <= chip.hbm_gib
  assert 500 < chip.hbm_gb_s < 3000
  assert 100 < chip.ici_gb_s < 1000
  assert chip.dcn_gb_s is None or 1 < chip.dcn_gb_s < 50
  assert chip.source.endswith(chip.name)
