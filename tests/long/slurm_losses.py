"""Losses under a real Slurm: SIGUSR1, and a task that is killed.

python -m pytest tests/long/slurm_losses.py
"""

import os
import pathlib
import signal

from tests import runs
from tests import test_main_slurm as base

cluster, python, undisturbed = base.cluster, base.python, base.undisturbed


def _tasks(job, process):
  """Return the ids of a job's processes of main.py with this index."""
  wanted = {f"SLURM_JOB_ID={job}", f"SLURM_PROCID={process}"}
  kept = []
  for folder in pathlib.Path("/proc").iterdir():
    try:
      env = {*(folder / "environ").read_text().split("\0")}
      command = (folder / "cmdline").read_text()
    except OSError:
      continue
    if wanted <= env and "slow.py" in command:
      kept.append(int(folder.name))
  return kept


def test_warned_and_a_task_lost(cluster, runner, undisturbed, python, tmp_path):
  """SIGUSR1, as before the end of --time; then a task of the step is killed."""
  workdir = tmp_path / "run"
  job = base.submit(cluster, runner, workdir, python)
  base.until_step(workdir, 11)
  cluster.call("scancel", "--signal=USR1", job)
  base.wait(lambda: cluster.fact(job, "Restarts") == "1", workdir)
  base.wait_started(
    cluster, job, lambda: "Resuming from" in base.log(workdir), workdir
  )
  base.until_step(workdir, runs.last_step(workdir) + 1)
  (lost,) = _tasks(job, process=1)
  os.kill(lost, signal.SIGKILL)
  base.wait(lambda: cluster.fact(job, "Restarts") == "2", workdir)
  base.completed(cluster, job, workdir)
  text = base.log(workdir)
  assert "SIGUSR1: saved step 1" in text
  assert "error: process 1 of 2 ended" in text
  base.assert_equal(runs.saved_arrays(workdir, runner.cache_dir), undisturbed)
