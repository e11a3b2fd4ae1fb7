"""A sweep as an array of a real Slurm: preempted, and joined at the end.

python -m pytest tests/long/slurm_sweep.py
"""

import json
import os
import subprocess
import sys
import time

from tests import runs, slurm
from tests import test_main_slurm as base

cluster, python = base.cluster, base.python


def _launch(cluster, python, runner, root, *args):
  return subprocess.run(
    [
      *(sys.executable, "main.py", "--task=launch", "--job_per_trial", *args),
      *("--on=launch/slurm.sbatch", "--", "--task=sweep", *base.ARGS),
      *(f"--workdir={root}", "--sweep.seed=0..2"),
      f"--config.data.cache_dir={runner.cache_dir}",
    ],
    env={
      **os.environ,
      **cluster.env,
      "PYTHON": str(python),
      "JAX_PLATFORMS": "cpu",
      "SBATCH_OUTPUT": str(root.with_name("%A_%a.log")),
    },
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def _tasks(cluster, job):
  """Return the state of each task of an array, by its index."""
  text = cluster.call(
    "squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%K %T"
  )
  return dict(line.split() for line in text.splitlines())


def _preempt(cluster, tmp_path):
  """Run a job of higher priority, which ends the other on this node."""
  high = cluster.submit(
    *("--ntasks=2", "--partition=high", "--wrap=sleep 1"),
    f"--output={tmp_path}/high.out",
    env={},
    cwd=str(tmp_path),
  )
  cluster.wait_for(high, "COMPLETED")


def _wait_for_all(cluster, job, logs):
  """Wait until all tasks of an array are complete."""
  # As in base.wait_started.
  updated = time.monotonic() - 25

  def completed():
    nonlocal updated
    states = _tasks(cluster, job)
    if "PENDING" in states.values() and time.monotonic() > updated + 30:
      updated = time.monotonic()
      for index in (i for i, state in states.items() if state == "PENDING"):
        task = f"JobId={job}_{index}"
        cluster.call("scontrol", "update", task, "StartTime=now")
    return {*states.values()} == {"COMPLETED"}

  deadline = time.monotonic() + 1500
  while not completed():
    assert time.monotonic() < deadline, logs()
    time.sleep(1)


def test_array(cluster, runner, python, tmp_path, monkeypatch):
  monkeypatch.setattr(base, "PATIENCE", 900)
  monkeypatch.setattr(slurm, "_SECONDS", 600)
  root = tmp_path / "sweep"
  done = _launch(cluster, python, runner, root)
  assert done.returncode == 0, done.stderr
  assert "--array=0,1,2 " in done.stdout
  job = done.stdout.split()[-1]

  def logs():
    return "".join(path.read_text() for path in tmp_path.glob("*.log"))

  def started():
    return len([*root.glob("*/trial.json")]) >= 2

  base.wait(started, tmp_path / f"{job}_0")
  _preempt(cluster, tmp_path)

  _wait_for_all(cluster, job, logs)
  table = json.loads((root / "results.json").read_text())
  assert [row["state"] for row in table["trials"]] == ["done"] * 3
  assert logs().count("and is queued again") == 2
  again = _launch(cluster, python, runner, root)
  assert (again.returncode, again.stdout) == (
    0,
    "All trials are done: nothing is started.\n",
  ), again.stderr


def test_array_of_two_processes(cluster, runner, tmp_path, monkeypatch):
  """Two trials of two processes each, one trial preempted between."""
  monkeypatch.setattr(base, "PATIENCE", 900)
  monkeypatch.setattr(slurm, "_SECONDS", 900)
  python = base.slow_python(tmp_path, seconds=0.5)
  root = tmp_path / "sweep"
  # Flags as in base.submit, with --array; the trials' folders are below ROOT.
  job = cluster.submit(
    *("--ntasks=2", "--array=0-1", "--partition=low"),
    *(f"--output={tmp_path}/%A_%a.log", "launch/slurm.sbatch"),
    *("--task=sweep", *base.ARGS, f"--workdir={root}", "--sweep.seed=0..1"),
    f"--config.data.cache_dir={runner.cache_dir}",
    env={
      "PYTHON": str(python),
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": "2",
    },
    cwd=str(runs.ROOT),
  )

  def logs():
    return "".join(path.read_text() for path in tmp_path.glob("*_*.log"))

  def saved():
    return [*root.glob("*/checkpoints/10")]

  deadline = time.monotonic() + 900
  while not saved():
    assert time.monotonic() < deadline, logs()
    time.sleep(0.5)
  _preempt(cluster, tmp_path)
  _wait_for_all(cluster, job, logs)
  table = json.loads((root / "results.json").read_text())
  assert [row["state"] for row in table["trials"]] == ["done"] * 2
  assert logs().count("and is queued again") == 1
  for row in table["trials"]:
    text = (root / row["id"] / "starts.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    started = [x["hardware"] for x in lines if "hardware" in x]
    assert {hardware["processes"] for hardware in started} == {2}
