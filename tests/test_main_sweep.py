"""Sweeps of main.py: trials that fail, kills, two sweeps of one folder."""

import json
import os
import signal

import pytest

from runtime.storage import bucket_path, leases
from tests import bucket_emulators as emulators
from tests import runs

pytestmark = pytest.mark.slow
_FIELDS = (
  "--config.evaluate.sets={}",
  "--config.log_every_steps=1",
  "--config.optimizer.warmup_steps=0",
  "--config.checkpoint.every_steps=50",
)


def _start(runner, root, *args):
  return runner.start(
    root, "--task=sweep", *_FIELDS, *args, config="tests/tiny.py:compositional"
  )


def _folders(root):
  """Return seed -> folder of its trial."""
  listed = json.loads((root / "trials.json").read_text())["trials"]
  return {x["changes"]["seed"]: root / x["id"] for x in listed}


def _record(folder):
  return json.loads((folder / "trial.json").read_text())


def test_failures_kills_and_resuming(runner, reference, tmp_path):
  """One trial of three fails; the sweep is killed in the first one."""
  del reference  # prepared data and programs
  root = tmp_path / "sweep"
  study = tmp_path / "study.py"
  study.write_text(
    "from experiments.sweeps import study\n"
    "def get_study():\n"
    "  trials = study.seeds([{'optimizer.learning_rate': 1e-3}], 3)\n"
    "  trials[1]['optimizer.learning_rate'] = 1e30\n"
    "  return trials\n"
  )
  args = (f"--study={study}", "--config.total_steps=150")
  sweep = _start(runner, root, *args)
  runs.wait_until(
    lambda: (
      (root / "trials.json").exists() and runs.last_step(_folders(root)[0]) > 0
    ),
    sweep,
  )
  first, second, third = _folders(root).values()
  runs.kill(sweep)
  # Its process goes on, and a second sweep waits for it.
  sweeps = [_start(runner, root, *args) for _ in range(2)]
  runs.wait_until(lambda: runs.last_step(third) > 0, sweeps[0])
  # As where memory runs out: one trial ends, and no sweep does.
  os.kill(_record(third)["process"]["process"], signal.SIGKILL)
  results = [runs.finish(sweep) for sweep in sweeps]
  assert [result.code for result in results] == [1, 1], results
  assert "2 of 3 trials failed" in results[0].stderr
  states = [_record(folder)["state"] for folder in (first, second, third)]
  assert states == ["done", "failed", "failed"]
  assert _record(third)["reason"].startswith("signal 9 (SIGKILL mostly means")
  # Once more, for that one alone: it resumes, and what is done is skipped.
  only = runs.finish(
    _start(runner, root, *args, f"--filter={third.name},{first.name}")
  )
  assert only.code == 0, only.stderr
  assert only.stderr.count(" starts: ") == 1
  for folder, lines in ((first, 150), (third, 150)):
    steps = [json.loads(line)["step"] for line in runs.train_lines(folder)]
    assert steps == list(range(1, lines + 1))
  # Nothing was trained twice.
  log = (first / "log.txt").read_text()
  assert log.count("M parameters") == 1
  assert "Resuming" not in log
  assert (first / "log.txt").read_text().count("is complete") == 1
  assert (second / "log.txt").read_text().count("$ python main.py") == 1

  table = json.loads((root / "results.json").read_text())
  rows = {row["id"]: row for row in table["trials"]}
  assert rows[second.name]["reason"].startswith("exit code 1: train/")
  assert "at step" in rows[second.name]["reason"]
  (group,) = [
    group
    for group in table["groups"]
    if group["fields"]["optimizer.learning_rate"] == 1e-3
  ]
  losses = [
    rows[folder.name]["figures"]["train/loss"] for folder in (first, third)
  ]
  assert group["figures"]["train/loss"]["n"] == 2
  assert group["figures"]["train/loss"]["mean"] == pytest.approx(
    sum(losses) / 2
  )
  assert "± " in (root / "results.md").read_text()
  assert second.name + " failed" in (root / "results.md").read_text()


def test_a_sweep_in_a_bucket(runner, reference):
  """A sweep is killed in its first trial; two more share what is left."""
  del reference
  with (
    emulators.started("s3") as emulator,
    emulators.connected(emulator.variables),
  ):
    root = bucket_path.make(f"{emulator.root}/sweeps/seeds")
    args = ("--sweep.seed=0..1", "--config.total_steps=60")
    sweep = _start(runner, root, *args)
    runs.wait_until(
      lambda: (
        (root / "trials.json").exists()
        and (_folders(root)[0] / ".lock").exists()
      ),
      sweep,
    )
    first, second = _folders(root).values()
    runs.kill(sweep)
    # Its process goes on, and further sweeps wait for it.
    assert leases.is_alive_here(_record(first)["process"])
    sweeps = [_start(runner, root, *args) for _ in range(2)]
    results = [runs.finish(sweep) for sweep in sweeps]
    assert [result.code for result in results] == [0, 0], results
    table = json.loads((root / "results.json").read_text())
    assert [row["state"] for row in table["trials"]] == ["done", "done"]
    assert "± " in (root / "results.md").read_text()
    for folder in (first, second):
      steps = [json.loads(line)["step"] for line in runs.train_lines(folder)]
      assert steps == list(range(1, 61))
    logs = [(folder / "log.txt").read_text() for folder in (first, second)]
    assert "is complete" in logs[0]
    assert "Resuming" not in "".join(logs)
    assert logs[1].count("$ python main.py") == 1
    assert str(root) in logs[1]


def test_sigterm_and_halving(runner, reference, tmp_path):
  """Three trials at once; a signal before the rung; then one goes on."""
  del reference
  root = tmp_path / "sweep"
  args = (
    "--sweep.seed=0..2",
    "--config.total_steps=400",
    "--rungs=100",
    "--keep=0.3",
    "--max_parallel=3",
  )
  sweep = _start(runner, root, *args)
  runs.wait_until(
    lambda: (
      (root / "trials.json").exists() and runs.last_step(_folders(root)[0]) > 0
    ),
    sweep,
  )
  sweep.send_signal(signal.SIGTERM)
  stopped = runs.finish(sweep)
  assert stopped.code == 75, stopped.stderr
  assert "the same command resumes" in stopped.stderr
  result = runs.finish(_start(runner, root, *args))
  assert result.code == 0, result.stderr
  folders = _folders(root)
  states = [_record(folder)["state"] for folder in folders.values()]
  assert sorted(states) == ["done", "stopped early", "stopped early"]
  losses = {}
  for folder in folders.values():
    lines = [json.loads(line) for line in runs.train_lines(folder)]
    steps = [line["step"] for line in lines]
    assert steps == list(range(1, len(steps) + 1))
    assert (
      len(steps) == 400
      if _record(folder)["state"] == "done"
      else len(steps) >= 100
    )
    losses[folder] = sum(line["train/loss"] for line in lines[90:100]) / 10
  best = min(losses, key=lambda folder: losses[folder])
  assert _record(best)["state"] == "done"


def test_refusals_start_nothing(runner, tmp_path):
  root = tmp_path / "sweep"
  for args, message in (
    (["--sweep.optimizer.name=adamw,sgd"], "must be one of adamw, adafactor"),
    (["--sweep.seed=0..1", "--index=2"], "--index must be below 2"),
    (["--sweep.seed=0..1", "--filter=seed=7"], "leaves no trial"),
    (
      ["--sweep.seed=0..1", "--rungs=9", "--figure=compositional/R@1"],
      "expected evaluate.every_steps from 1 to 9",
    ),
    ([], "give trials: --sweep.FIELD=VALUES"),
  ):
    result = runs.finish(_start(runner, root, *args))
    assert result.code == 1, result.stdout
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 3
  result = runner.run(root, "--sweep.seed=0..1")
  assert result.code == 1
  assert (
    "--sweep.seed is not used by --task=train, the default" in result.stderr
  )
  assert not root.exists()
  shown = runs.finish(_start(runner, root, "--sweep.seed=0..2", "--dry_run"))
  assert shown.code == 0, shown.stderr
  assert "3 trials, 120 steps" in shown.stdout
  assert not root.exists()
