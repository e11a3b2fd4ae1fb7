"""A run whose losses begin one after the other, killed and resumed."""

import json

import numpy as np
import pytest

from inference import model as model_lib
from tests import killed_runs, runs, tiny_joint, tiny_phases

_HEADS = tiny_joint.STEPS[0]
_END = sum(tiny_joint.STEPS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Return a function that runs main.py and returns its output."""
  folder = tmp_path_factory.mktemp("runs")
  pairs = folder / "pairs"
  tiny_phases.write_pairs(pairs)
  with killed_runs.runner(folder, "tests/tiny_joint.py:phases", pairs) as once:
    yield once


@pytest.fixture(scope="module")
def unbroken(run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "unbroken"
  run(workdir)
  return workdir


@pytest.mark.slow
def test_losses_begin_with_their_phase(unbroken):
  rows = [json.loads(line) for line in runs.train_lines(unbroken)]
  assert [row["train/phase"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2]
  assert np.isfinite([row["train/loss"] for row in rows]).all()
  assert "ema" in killed_runs.digests(unbroken)[_END]


@pytest.mark.slow
def test_a_run_killed_within_the_switch_has_the_same_bits(
  run, unbroken, tmp_path
):
  """Heads, teacher and mask token are drawn anew, alike."""
  workdir = tmp_path / "run"
  kill = killed_runs.KILL_IN_SWITCH.format(step=_HEADS)
  run(workdir, before=kill, code=-9)
  assert runs.last_step(workdir) == _HEADS
  run(workdir, before=killed_runs.KILL_AT.format(step=_HEADS + 2), code=-9)
  run(workdir)
  assert runs.train_lines(workdir) == runs.train_lines(unbroken)
  there, wanted = killed_runs.digests(workdir), killed_runs.digests(unbroken)
  assert there[_END] == wanted[_END]


@pytest.mark.slow
def test_the_model_of_a_run_is_read_without_what_learned_beside_it(unbroken):
  _, model = model_lib.load_run(unbroken)
  assert {*model.params} == {"img", "txt", "log_scale", "bias"}
  assert model.config.image is not None
  assert model.config.image.image_size == 24
