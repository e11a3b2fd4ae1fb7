"""main.py under a real Slurm: preempted and requeued."""

import stat
import sys
import time

import numpy as np
import pytest

from tests import programs, runs, slurm

# Seconds that a job may take to come so far.
PATIENCE = 240
_SLOW = """
import time
from training import metrics
write = metrics.Writer.write
def slow(self, step, values):
  write(self, step, values)
  if step > 10: time.sleep({seconds})
metrics.Writer.write = slow
"""
ARGS = (
  "--config=tests/tiny.py",
  "--config.total_steps=20",
  "--config.evaluate.sets={}",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
  """Return a cluster of this machine alone."""
  programs.need(slurm.missing(), "slurm-wlm and munge, as root")
  # A short path: that of a socket has 108 characters at most.
  made = slurm.Slurm(tmp_path_factory.mktemp("slurm"))
  try:
    made.start()
    yield made
  finally:
    made.stop()


@pytest.fixture
def python(tmp_path):
  """Return a Python whose runs are slow from step 11 on."""
  return slow_python(tmp_path, seconds=0.5)


def slow_python(tmp_path, *, seconds):
  """Return a Python whose runs take these seconds a step from step 11 on."""
  path = tmp_path / "python"
  slow = _SLOW.format(seconds=seconds)
  run = "runpy.run_path('main.py', run_name='__main__')"
  code = f"import runpy, sys\n{slow}\nsys.argv = sys.argv[1:]\n{run}"
  (tmp_path / "slow.py").write_text(
    f"import sys\nsys.path.insert(0, {str(runs.ROOT)!r})\n{code}"
  )
  path.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/slow.py "$@"\n')
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  return path


def submit(cluster, runner, workdir, python, *args):
  return cluster.submit(
    *("--ntasks=2", "--partition=low", f"--output={workdir}.log"),
    *("launch/slurm.sbatch", *ARGS, f"--workdir={workdir}"),
    *(f"--config.data.cache_dir={runner.cache_dir}", *args),
    env={
      "PYTHON": str(python),
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": "2",
      "XLA_FLAGS": "--xla_backend_optimization_level=0 "
      + runs.FAST_COMPILATION,
    },
    cwd=str(runs.ROOT),
  )


def until_step(workdir, step):
  deadline = time.monotonic() + PATIENCE
  while runs.last_step(workdir) < step:
    log = workdir.with_name(f"{workdir.name}.log")
    assert time.monotonic() < deadline, log.read_text() if log.exists() else ""
    time.sleep(0.05)


def wait(condition, workdir):
  deadline = time.monotonic() + PATIENCE
  while not condition():
    assert time.monotonic() < deadline, log(workdir)
    time.sleep(0.1)


def wait_started(cluster, job, condition, workdir):
  """Wait, and let a requeued job start, which Slurm holds for two minutes."""
  # Not in the second of the requeue: Slurm has revoked the job's credential
  # for that one, and ends it.
  updated = time.monotonic() - 25

  def holds():
    nonlocal updated
    if condition():
      return True
    # Each time again, it waits for the next round of the scheduler.
    if cluster.state(job) == "PENDING" and time.monotonic() > updated + 30:
      updated = time.monotonic()
      cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")
    return False

  wait(holds, workdir)


def completed(cluster, job, workdir):
  ends = ("COMPLETED", "FAILED", "CANCELLED")
  wait_started(cluster, job, lambda: cluster.state(job) in ends, workdir)
  assert cluster.state(job) == "COMPLETED", log(workdir)


def assert_equal(arrays, expected):
  assert arrays.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def log(workdir):
  return workdir.with_name(f"{workdir.name}.log").read_text()


@pytest.fixture(scope="module")
def undisturbed(runner, tmp_path_factory):
  """Return the parameters of the same run outside Slurm."""
  workdir = tmp_path_factory.mktemp("undisturbed") / "run"
  for process in runner.start_cluster(workdir, 2, *ARGS[1:]):
    result = runs.finish(process)
    assert result.code == 0, result.stderr
  return runs.saved_arrays(workdir, runner.cache_dir)


@pytest.mark.slow
def test_preempted_and_requeued(cluster, runner, undisturbed, python, tmp_path):
  workdir = tmp_path / "run"
  job = submit(cluster, runner, workdir, python)
  until_step(workdir, 11)
  high = cluster.submit(
    *("--ntasks=2", "--partition=high", "--wrap=sleep 1"),
    f"--output={tmp_path}/high.log",
    env={},
    cwd=str(tmp_path),
  )
  cluster.wait_for(high, "COMPLETED")
  assert cluster.fact(job, "Restarts") == "1", log(workdir)
  completed(cluster, job, workdir)
  text = log(workdir)
  assert "SIGTERM: saved step 1" in text
  assert "Resuming from the checkpoint of step 1" in text
  assert_equal(runs.saved_arrays(workdir, runner.cache_dir), undisturbed)
