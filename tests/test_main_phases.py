"""Runs of three phases that are killed around the switches end as unbroken."""

import json

import numpy as np
import pytest

from inference import model as model_lib
from tests import killed_runs, runs, tiny_phases

_END = sum(tiny_phases.STEPS)
_PLAIN, _LARGE = tiny_phases.STEPS[0], sum(tiny_phases.STEPS[:2])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data") / "pairs"
  tiny_phases.write_pairs(folder)
  return folder


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory):
  """Return a function that runs main.py and returns its output."""
  folder = tmp_path_factory.mktemp("runs")
  with killed_runs.runner(folder, "tests/tiny_phases.py", pairs) as once:
    yield once


@pytest.fixture(scope="module")
def unbroken(run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "unbroken"
  run(workdir)
  return workdir


def _assert_same(got, expected):
  """Training lines equal to the byte, checkpoints equal to the bit."""
  assert runs.train_lines(got) == runs.train_lines(expected)
  there, wanted = killed_runs.digests(got), killed_runs.digests(expected)
  assert there == {step: wanted[step] for step in there}
  assert {_PLAIN, _LARGE, _END} <= {*there}


@pytest.mark.slow
def test_killed_within_a_switch(run, unbroken, tmp_path):
  """The step of the phase that ended is not compiled again."""
  workdir = tmp_path / "run"
  run(workdir, before=killed_runs.KILL_IN_SWITCH.format(step=_LARGE), code=-9)
  assert runs.last_step(workdir) == _LARGE
  output = run(workdir)
  assert f"Resuming from the checkpoint of step {_LARGE}" in output
  assert output.count("compiled in") == 1
  _assert_same(workdir, unbroken)


@pytest.mark.long
@pytest.mark.slow
def test_killed_around_each_switch(run, unbroken, tmp_path):
  workdir = tmp_path / "run"
  for before in (
    killed_runs.KILL_AT.format(step=_PLAIN),
    killed_runs.KILL_IN_SWITCH.format(step=_PLAIN),
    killed_runs.KILL_AT.format(step=_PLAIN + 1),
    killed_runs.KILL_AT.format(step=_LARGE),
    killed_runs.KILL_IN_SWITCH.format(step=_LARGE),
    killed_runs.KILL_AT.format(step=_LARGE + 1),
    killed_runs.KILL_AT.format(step=_LARGE + 3),
  ):
    run(workdir, before=before, code=-9)
  run(workdir)
  _assert_same(workdir, unbroken)


@pytest.mark.slow
def test_metrics_and_report_name_the_phase(unbroken):
  rows = [json.loads(line) for line in runs.train_lines(unbroken)]
  want = [i for i, n in enumerate(tiny_phases.STEPS) for _ in range(n)]
  assert [row["train/phase"] for row in rows] == want
  page = (unbroken / "report.html").read_text()
  assert "prompted: 0 to 6; plain: 6 to 12; large: 12 to 16" in page


@pytest.mark.slow
def test_the_schedule_of_the_last_phase_is_its_own(unbroken):
  rows = [json.loads(line) for line in runs.train_lines(unbroken)]
  rates = [row["train/learning_rate"] for row in rows]
  assert rates[:3] == pytest.approx([0.0, 5e-4, 1e-3])
  assert 0 < rates[_LARGE - 1] < 1e-4, "the end of the first cosine"
  assert rates[_LARGE : _LARGE + 2] == pytest.approx([0.0, 1e-4])


@pytest.mark.slow
def test_a_checkpoint_is_read_in_the_size_of_its_phase(unbroken, tmp_path):
  assert killed_runs.digests(unbroken)[_PLAIN]["phase"] == "prompted"
  assert killed_runs.digests(unbroken)[_LARGE]["phase"] == "plain"
  config, model = model_lib.load_run(unbroken)
  assert config.model.image.image_size == 24
  assert model.params["img"]["position"].shape[0] == 9
  assert model.make_image_protocol().size == 24
  # The same folder, as it was at the end of the second phase.
  for step in (x for x in killed_runs.digests(unbroken) if x > _LARGE):
    (unbroken / "checkpoints" / str(step)).rename(tmp_path / str(step))
  config, model = model_lib.load_run(unbroken)
  for folder in tmp_path.iterdir():
    folder.rename(unbroken / "checkpoints" / folder.name)
  assert (model.step, config.model.image.image_size) == (_LARGE, 16)
  assert model.make_image_protocol().size == 16


@pytest.mark.long
@pytest.mark.slow
def test_evaluations_take_the_size_in_force(run, tmp_path):
  """Killed after the checkpoint of a switch, figures of its step come again."""
  flags = ("--config.evaluate.holdout=0.25", "--config.evaluate.every_steps=6")
  run(tmp_path / "a", *flags)
  before = killed_runs.KILL_IN_SWITCH.format(step=_LARGE)
  run(tmp_path / "b", *flags, before=before, code=-9)
  run(tmp_path / "b", *flags)
  figures = []
  for name in "ab":
    rows = runs.rows(tmp_path / name)
    figures.append([x for x in rows if any("R@1" in key for key in x)])
  assert figures[0] == figures[1]
  assert [row["step"] for row in figures[0]] == [_PLAIN, _LARGE, _END]
  results = json.loads((tmp_path / "a" / "results.json").read_text())
  assert results["inputs"]["image_protocol"]["size"] == 24


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_killed_within_a_switch(
  runner, unbroken, pairs, tmp_path
):
  """Two processes resume to their own bits, and to one process's figures."""
  flags = (
    f"--config.data.sources.main.path={pairs}",
    f"--config.data.cache_dir={tmp_path / 'cache'}",
  )

  def run(name, before="", code=0):
    processes = runner.start_cluster(
      *(tmp_path / name, 2, *flags),
      num_devices=2,
      config="tests/tiny_phases.py",
      before=before,
    )
    # Each process compiles three steps.
    results = [runs.finish(process, patience=900) for process in processes]
    assert [x.code for x in results] == [code] * 2, results[0].stderr
    return results[0].stdout + results[0].stderr

  run("whole")
  run("killed", killed_runs.KILL_IN_SWITCH.format(step=_LARGE), -9)
  assert runs.last_step(tmp_path / "killed") == _LARGE
  assert f"checkpoint of step {_LARGE}" in run("killed")
  _assert_same(tmp_path / "killed", tmp_path / "whole")
  losses = [
    [json.loads(line)["train/loss"] for line in runs.train_lines(folder)]
    for folder in (tmp_path / "whole", unbroken)
  ]
  # Two devices sum in another order than one: rounding, which Adam amplifies.
  # Another batch differs by 1e-1.
  np.testing.assert_allclose(*losses, rtol=1e-3)
