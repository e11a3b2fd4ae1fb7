"""Training by a real mpirun, asked to end and resumed.

python -m pytest tests/long/open_mpi.py
"""

import shutil
import signal
import subprocess
import sys

import pytest

from tests import programs, runs


@pytest.fixture
def mpirun():
  """Return the command that starts two processes."""
  programs.need([] if shutil.which("mpirun") else ["mpirun"], "openmpi-bin")
  flags = ["--allow-run-as-root", "--oversubscribe", "-n", "2"]
  return ["mpirun", *flags, sys.executable, "main.py"]


def _start(mpirun, runner, workdir, *args):
  made = runner.start(workdir, *args)  # for its command and environment
  made.kill()
  made.communicate()
  assert isinstance(made.args, list)
  return subprocess.Popen(
    mpirun + made.args[2:],
    cwd=runs.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_usr1_saves_and_the_same_command_resumes(
  mpirun, runner, tmp_path, monkeypatch
):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(runner.compiled))
  workdir = tmp_path / "run"
  flags = ("--config.evaluate.sets={}", "--config.checkpoint.every_steps=1000")
  process = _start(
    mpirun, runner, workdir, *flags, "--config.total_steps=100000"
  )
  runs.wait_until(lambda: runs.last_step(workdir) >= 5, process)
  process.send_signal(signal.SIGUSR1)  # mpirun hands it on
  stopped = runs.finish(process)
  assert stopped.code == 75, stopped.stderr
  assert "2 cpu device(s)" in stopped.stderr
  assert "SIGUSR1: saved step" in stopped.stderr
  (saved,) = (
    int(path.name)
    for path in (workdir / "checkpoints").iterdir()
    if path.name.isdecimal()
  )
  process = _start(
    mpirun, runner, workdir, *flags, f"--config.total_steps={saved + 5}"
  )
  done = runs.finish(process)
  assert done.code == 0, done.stderr
  assert f"Resuming from the checkpoint of step {saved}" in done.stderr
