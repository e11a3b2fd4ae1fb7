"""A run that a real Slurm preempts and requeues ten times.

python -m pytest tests/long/slurm_preemptions.py
"""

from tests import runs, slurm
from tests import test_main_slurm as base

cluster = base.cluster
_TIMES = 10
# Each preemption comes after another step.
_STEPS = "--config.total_steps=60"


def test_ten_preemptions(cluster, runner, tmp_path, monkeypatch):
  for module, name in ((runs, "_PATIENCE"), (base, "PATIENCE")):
    monkeypatch.setattr(module, name, 900)
  monkeypatch.setattr(slurm, "_SECONDS", 600)
  python = base.slow_python(tmp_path, seconds=3)
  plain = tmp_path / "plain"
  for process in runner.start_cluster(plain, 2, *base.ARGS[1:], _STEPS):
    result = runs.finish(process)
    assert result.code == 0, result.stderr
  workdir = tmp_path / "run"
  job = base.submit(cluster, runner, workdir, python, _STEPS)
  for time in range(1, _TIMES + 1):
    step = max(runs.last_step(workdir) + 1, 11)
    base.wait_started(
      cluster, job, lambda step=step: runs.last_step(workdir) >= step, workdir
    )
    high = cluster.submit(
      *("--ntasks=2", "--partition=high", "--wrap=sleep 1"),
      f"--output={tmp_path}/high.log",
      env={},
      cwd=str(tmp_path),
    )
    cluster.wait_for(high, "COMPLETED")
    assert cluster.fact(job, "Restarts") == str(time), base.log(workdir)
  base.completed(cluster, job, workdir)
  text = base.log(workdir)
  assert text.count("SIGTERM: saved step ") == _TIMES
  assert text.count("Resuming from the checkpoint of step ") == _TIMES
  base.assert_equal(
    runs.saved_arrays(workdir, runner.cache_dir),
    runs.saved_arrays(plain, runner.cache_dir),
  )
