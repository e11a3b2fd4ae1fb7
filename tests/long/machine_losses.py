"""Runs of several machines at s3://: processes that share no folder.

Processes of one machine with different TMPDIR folders stand for them.

python -m pytest tests/long/machine_losses.py
"""

import pytest

from runtime.storage import bucket_path, committed, objects
from tests import bucket_emulators as emulators
from tests import runs

pytestmark = pytest.mark.slow

_FLAGS = (
  "--config.total_steps=4",
  "--config.optimizer.warmup_steps=2",
  "--config.checkpoint.every_steps=1",
  "--config.evaluate.sets={}",
  "--config.mesh.fsdp=2",
)
# Ends the first process between the last upload and the commit of step 3.
_KILL = """
import os, signal
from runtime.storage import committed
commit = committed.commit
def commit_or_die(local, folder):
  if folder.name == "3": os.kill(os.getpid(), signal.SIGKILL)
  commit(local, folder)
committed.commit = commit_or_die
"""


def _finish(processes):
  results = [runs.finish(process) for process in processes]
  for result in results:
    assert "Traceback" not in result.stderr, [r.stderr for r in results]
    assert "not usable" not in result.stderr
  return results


def test_two_machines_at_s3(runner, tmp_path):
  for index in range(2):
    (tmp_path / f"tmp{index}").mkdir()
  disks = lambda index: {"TMPDIR": str(tmp_path / f"tmp{index}")}  # noqa: E731

  def run(workdir, num_processes=2, **kwargs):
    return runner.start_cluster(
      workdir, num_processes, *_FLAGS, num_devices=2, **kwargs
    )

  expected = _finish(run(tmp_path / "disk"))
  assert [r.code for r in expected] == [0, 0], expected
  with (
    emulators.started("s3") as emulator,
    emulators.connected(emulator.variables),
  ):
    workdir = bucket_path.make(f"{emulator.root}/run")
    first, second = run(workdir, before=_KILL, env=disks)
    killed = _finish([first, second])
    assert killed[0].code == -9, killed[0].stderr
    assert killed[1].code == 1, killed[1].stderr
    # All pieces of step 3 are there, but not its commit.
    steps = workdir / "checkpoints"
    assert committed.names(steps) == ["1", "2"]
    pieces = set(objects.sizes(str(steps / "2"))) - {committed.COMMIT}
    assert set(objects.sizes(str(steps / "3"))) == pieces
    resumed = _finish(run(workdir, env=disks))
    assert [r.code for r in resumed] == [0, 0], resumed
    assert "Resuming from the checkpoint of step 2" in resumed[0].stderr
    # One process reads what two have written, with the same bits.
    runs.assert_same_run(workdir, tmp_path / "disk", runner.cache_dir)
    (alone,) = _finish(run(workdir, 1, env=disks))
    assert alone.code == 0
    assert "is complete" in alone.stderr
  for index in range(2):
    assert not list((tmp_path / f"tmp{index}").glob("diptych-staging-*"))
