"""Trackers' real clients in runs that are killed, without a network."""

import dataclasses
import os
import signal
import time

import pytest

from tests import runs, trackers
from training.trackers import trackers as trackers_lib

_ALL = "--config.trackers.names=('wandb', 'trackio', 'mlflow')"
_PROJECT = "tests"
_TOTAL = 100
_ARGS = (
  f"--config.trackers.project={_PROJECT}",
  f"--config.total_steps={_TOTAL}",
  "--config.checkpoint.every_steps=20",
)
# Clients take seconds to start.
_SLOW = """
import time
from training import reporter
add = reporter.Reporter.add
def slow(self, *args):
  time.sleep(0.1)
  add(self, *args)
reporter.Reporter.add = slow
"""


def _wait_for_end(pids):
  deadline = time.monotonic() + 60
  while any(map(trackers.is_running, pids)):
    assert time.monotonic() < deadline
    time.sleep(0.1)


@pytest.mark.slow
def test_killed_runs_go_on_in_their_trackers(runner, reference, tmp_path):
  """Killed alone, then with all its processes, then left in peace."""
  trackers.need()
  del reference  # it has compiled the program
  runner = dataclasses.replace(runner, python=str(trackers.PYTHON))
  env = trackers.variables(tmp_path)
  workdir = tmp_path / "run"

  def start(before=""):
    return runner.start(workdir, _ALL, *_ARGS, env=env, before=before)

  process = start()
  runs.wait_until(lambda: runs.last_step(workdir) > 25, process)
  below = trackers.below(process.pid)
  assert len(below) >= 3
  runs.kill(process)
  _wait_for_end(below)  # they send what they have

  def newest():
    return max((x[2] for x in trackers.mlflow_points(tmp_path)), default=0)

  sent = newest()
  process = start(_SLOW)
  runs.wait_until(lambda: newest() > sent + 5, process)
  below = trackers.below(process.pid)
  for pid in below:
    os.kill(pid, signal.SIGKILL)
  runs.kill(process)
  _wait_for_end(below)

  result = runs.finish(start())
  assert result.code == 0, result.stderr
  assert "warning: tracker" not in result.stderr

  figure = "compositional/image_to_text/R@1"
  written = {}
  for row in runs.rows(workdir):
    written.setdefault(row["step"], {}).update(row)
  value = written[_TOTAL][figure]
  steps = list(range(_TOTAL + 1))
  losses = [written[step]["train/loss"] for step in steps[1:]]
  id_ = (workdir / trackers_lib.ID).read_text().strip()

  files = trackers.wandb_runs(workdir)
  # A client that is killed at once has written nothing.
  files = [file for file in files if file["id"]]
  assert len(files) in (2, 3)
  assert {file["id"] for file in files} == {id_}
  assert all(file["config"]["batch_size"] == 16 for file in files)
  assert files[-1]["config"]["record"]["versions"]["jax"]
  lines = [line for file in files for line in file["lines"]]
  assert [line["_step"] for line in lines] == steps
  got = [line["train/loss"] for line in lines[1:]]
  assert got == pytest.approx(losses)
  assert lines[-1][figure] == pytest.approx(value)

  rows = trackers.trackio_rows(tmp_path, _PROJECT)
  assert {row["run"] for row in rows} == {f"run-{id_}"}
  assert [row["step"] for row in rows] == steps
  assert [row["train/loss"] for row in rows[1:]] == pytest.approx(losses)
  assert rows[-1][figure] == pytest.approx(value)

  points = trackers.mlflow_points(tmp_path)
  assert len({point[0] for point in points}) == 1
  by_name = {}
  for _, name, step, number in points:
    by_name.setdefault(name, []).append((step, number))
  assert [step for step, _ in by_name["train/loss"]] == steps[1:]
  assert [x for _, x in by_name["train/loss"]] == pytest.approx(losses)
  assert by_name[figure.replace("@", "_at_")] == [
    (_TOTAL, pytest.approx(value))
  ]
  assert trackers.mlflow_params(tmp_path)["optimizer.name"] == "adamw"


def test_a_package_that_is_missing_is_named_at_once(runner, tmp_path):
  """The environment of the tests has no tracker."""
  result = runner.run(tmp_path / "run", "--config.trackers.names=('trackio',)")
  assert result.code == 1
  assert result.stderr.strip() == (
    "error: trackers.names must name trackers that are installed; got"
    " 'trackio', without its package trackio: pip install -r"
    " requirements-trackers.txt"
  )
  assert not (tmp_path / "run").exists()
