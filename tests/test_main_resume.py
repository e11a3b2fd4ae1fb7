"""Runs that are killed, stopped or damaged end as those that were not."""

import dataclasses
import json
import random
import shutil
import signal
import time

import numpy as np
import pytest

from tests import runs

# Without evaluations: what is compared is training.
_NO_EVALUATION = ("--config.evaluate.sets={}",)


def _snapshot(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path.name != ".lock"
  }


@pytest.fixture
def copied(reference, tmp_path):
  """Return a run that a test may change, killed after its last checkpoint."""
  folder = shutil.copytree(reference, tmp_path / "run")
  (folder / "results.json").unlink()
  return folder


def _drop_checkpoints(workdir, first):
  for folder in (workdir / "checkpoints").iterdir():
    if int(folder.name) >= first:
      shutil.rmtree(folder)


def _complete(runner, workdir, *args):
  result = runner.run(workdir, *args)
  assert result.code == 0, result.stderr
  return result


@pytest.mark.slow
def test_killed_after_a_checkpoint(runner, reference, tmp_path):
  # It compiles its own program, as on a fresh machine; what resumes reads one.
  fresh = dataclasses.replace(runner, compiled=None)
  workdir = tmp_path / "run"
  process = fresh.start(workdir, *_NO_EVALUATION)
  first = workdir / "checkpoints" / "10"
  runs.wait_until(first.exists, process)
  time.sleep(random.uniform(0, 0.3))
  runs.kill(process)
  assert runs.last_step(workdir) < 40, "killed too late to show anything"
  result = _complete(runner, workdir, *_NO_EVALUATION)
  assert "Resuming from the checkpoint of step " in result.stderr
  runs.assert_same_run(workdir, reference, runner.cache_dir)


@pytest.mark.long
@pytest.mark.slow
def test_killed_while_preparing_and_while_compiling(
  runner, reference, tmp_path
):
  runner = dataclasses.replace(runner, cache_dir=tmp_path / "cache")
  workdir = tmp_path / "run"

  process = runner.start(workdir, *_NO_EVALUATION)
  preparing = lambda: any(runner.cache_dir.glob(".*.tmp-*"))  # noqa: E731
  runs.wait_until(preparing, process)
  runs.kill(process)
  assert not list(runner.cache_dir.glob("emoji*"))

  no_programs = dataclasses.replace(runner, compiled=None)
  process = no_programs.start(workdir, *_NO_EVALUATION)
  runs.wait_until((workdir / "checkpoints").exists, process)
  time.sleep(3)  # restored nothing, made the state; compiles for seconds
  runs.kill(process)
  assert not runs.train_lines(workdir) if runs.last_step(workdir) else True

  result = _complete(runner, workdir, *_NO_EVALUATION)
  assert "Resuming" not in result.stderr
  runs.assert_same_run(workdir, reference, runner.cache_dir)


@pytest.mark.slow
def test_sigterm_in_the_loop_saves_and_exits_75(runner, reference, tmp_path):
  workdir = tmp_path / "run"
  process = runner.start(workdir, *_NO_EVALUATION)
  # Step 7 is saved by nothing else.
  runs.wait_until(lambda: runs.last_step(workdir) >= 7, process)
  process.send_signal(signal.SIGTERM)
  result = runs.finish(process)
  assert result.code == 75, result.stderr
  assert result.seconds < 20  # about 0.5; ten seconds of it are for others
  assert "SIGTERM: saved step " in result.stderr
  assert not (workdir / "results.json").exists()
  stopped_at = runs.last_step(workdir)
  saved = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())
  assert saved[-1] == stopped_at < 40
  _complete(runner, workdir, *_NO_EVALUATION)
  runs.assert_same_run(workdir, reference, runner.cache_dir)


@pytest.mark.slow
def test_sigterm_while_compiling_exits_143_at_once(runner, tmp_path):
  workdir = tmp_path / "run"
  runner = dataclasses.replace(runner, compiled=None)
  process = runner.start(workdir)
  runs.wait_until((workdir / "checkpoints").exists, process)
  time.sleep(2)
  process.send_signal(signal.SIGTERM)
  result = runs.finish(process)
  assert result.code == 143
  assert result.seconds < 2  # it compiles for 10; nobody waits for that
  assert result.stderr.endswith("ending at once; nothing new was saved\n")
  assert "Traceback" not in result.stderr
  assert not list((workdir / "checkpoints").iterdir())


# Sends the process SIGTERM just before the first step.
_STOP_AT_ONCE = """
import os, signal
from training import stop
begin = stop.Stop.begin
def begin_and_stop(self):
  begin(self)
  os.kill(os.getpid(), signal.SIGTERM)
stop.Stop.begin = begin_and_stop
"""


@pytest.mark.long
@pytest.mark.slow
def test_stopped_twice_at_step_0(runner, reference, tmp_path):
  workdir = tmp_path / "run"
  for _ in range(2):
    result = runner.run(workdir, *_NO_EVALUATION, before=_STOP_AT_ONCE)
    assert result.code == 75, result.stderr
    assert "SIGTERM: saved step 0 of 40" in result.stderr
    assert [p.name for p in (workdir / "checkpoints").iterdir()] == ["0"]
  _complete(runner, workdir, *_NO_EVALUATION)
  runs.assert_same_run(workdir, reference, runner.cache_dir)


# Sends the process SIGTERM whenever it begins to evaluate.
_STOP_IN_EVALUATION = """
import os, signal
from evaluators import suite
embed = suite.embed_by
def stop_and_embed(*args, **kwargs):
  os.kill(os.getpid(), signal.SIGTERM)
  return embed(*args, **kwargs)
suite.embed_by = stop_and_embed
"""


@pytest.mark.slow
def test_sigterm_in_evaluations(runner, reference, tmp_path):
  workdir = tmp_path / "run"
  # Step 12 is saved by nothing else.
  result = runner.run(
    workdir, "--config.evaluate.every_steps=12", before=_STOP_IN_EVALUATION
  )
  assert result.code == 75, result.stderr
  assert "SIGTERM: saved step 12 of 40" in result.stderr

  last_only = "--config.evaluate.every_steps=0"
  result = runner.run(workdir, last_only, before=_STOP_IN_EVALUATION)
  assert result.code == 75, result.stderr
  assert "Resuming from the checkpoint of step 12" in result.stderr
  assert "SIGTERM: stopped in the last evaluation" in result.stderr
  assert not (workdir / "results.json").exists()

  result = _complete(runner, workdir, last_only)
  assert "Resuming from the checkpoint of step 40" in result.stderr
  runs.assert_same_run(workdir, reference, runner.cache_dir)
  got, expected = (
    json.loads((folder / "results.json").read_text())["compositional"]
    for folder in (workdir, reference)
  )
  assert got == expected


@pytest.mark.slow
def test_sigint_exits_130(runner, tmp_path):
  workdir = tmp_path / "run"
  process = runner.start(workdir, *_NO_EVALUATION)
  runs.wait_until(lambda: runs.last_step(workdir) >= 2, process)
  process.send_signal(signal.SIGINT)
  result = runs.finish(process)
  assert result.code == 130
  assert "SIGINT: saved step " in result.stderr
  assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_corrupted_newest_checkpoint(runner, reference, copied):
  largest = max(
    (p for p in (copied / "checkpoints" / "40").rglob("*") if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 0xFF
  largest.write_bytes(content)
  result = _complete(runner, copied, *_NO_EVALUATION)
  assert "Checkpoint of step 40 is not usable" in result.stderr
  assert "Resuming from the checkpoint of step 30" in result.stderr
  runs.assert_same_run(copied, reference, runner.cache_dir)


@pytest.mark.slow
def test_a_checkpoint_without_its_metadata(runner, reference, copied):
  (copied / "checkpoints" / "40" / "_CHECKPOINT_METADATA").unlink()
  result = _complete(runner, copied, *_NO_EVALUATION)
  assert "Checkpoint of step 40 is not usable" in result.stderr
  assert "Resuming from the checkpoint of step 30" in result.stderr
  runs.assert_same_run(copied, reference, runner.cache_dir)


@pytest.mark.slow
def test_all_checkpoints_broken(runner, copied):
  _drop_checkpoints(copied, 21)
  for path in (copied / "checkpoints").glob("*/params/d/*"):
    path.write_bytes(b"")
  before = _snapshot(copied)
  result = runner.run(copied)
  assert result.code == 1
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith("error: No checkpoint in "), result.stderr
  assert "step 20 (" in last
  assert "step 10 (" in last
  assert "Traceback" not in result.stderr
  after = _snapshot(copied)
  for snapshot in (before, after):
    del snapshot["config.json"]  # when and how it was started last
  assert after == before


@pytest.mark.slow
def test_another_model_or_data_is_refused(runner, copied):
  before = _snapshot(copied)
  result = runner.run(
    copied,
    "--config.model.embed_dim=32",
    "--config.data.languages=('de',)",
    "--config.seed=3",
  )
  assert result.code == 1
  assert "model.embed_dim: 16 in the folder, 32 now" in result.stderr
  assert "data.languages: ('en',) in the folder, ('de',) now" in result.stderr
  assert "seed: 0 in the folder, 3 now" in result.stderr
  assert "Traceback" not in result.stderr
  assert _snapshot(copied) == before


@pytest.mark.slow
def test_fewer_steps_than_were_made_is_refused(runner, copied):
  before = _snapshot(copied)
  result = runner.run(copied, "--config.total_steps=20")
  assert result.code == 1
  assert "total_steps" in result.stderr
  assert "40" in result.stderr
  assert "Traceback" not in result.stderr
  assert _snapshot(copied) == before


@pytest.mark.slow
def test_another_interval_is_accepted(runner, reference, copied):
  _drop_checkpoints(copied, 11)
  result = _complete(
    runner, copied, "--config.checkpoint.every_steps=7", *_NO_EVALUATION
  )
  assert "checkpoint.every_steps changed from 10 to 7" in result.stderr
  saved = {int(p.name) for p in (copied / "checkpoints").iterdir()}
  assert {10, 14, 21, 28, 35, 40} <= saved
  assert 20 not in saved
  runs.assert_same_run(copied, reference, runner.cache_dir)


@pytest.mark.slow
def test_resume_on_another_mesh(runner, reference, tmp_path):
  """8 devices, then 4. Sums are taken in another order: not to the bit."""
  workdir = tmp_path / "run"

  def start(devices, tensor):
    return runner.start(
      workdir,
      "--config.mesh.fsdp=2",
      f"--config.mesh.tensor={tensor}",
      *_NO_EVALUATION,
      env={"JAX_NUM_CPU_DEVICES": str(devices)},
    )

  process = start(8, 2)
  runs.wait_until((workdir / "checkpoints" / "10").exists, process)
  process.send_signal(signal.SIGTERM)
  assert runs.finish(process).code == 75
  stopped_at = runs.last_step(workdir)
  assert 10 <= stopped_at < 40
  result = runs.finish(start(4, 1))
  assert result.code == 0, result.stderr
  assert f"Resuming from the checkpoint of step {stopped_at}" in result.stderr
  assert "mesh.tensor changed from 2 to 1" in result.stderr
  devices = [
    row["compile/num_devices"]
    for row in runs.rows(workdir)
    if "compile/num_devices" in row
  ]
  assert devices == [8, 4]
  got, expected = (
    [json.loads(line) for line in runs.train_lines(folder)]
    for folder in (workdir, reference)
  )
  assert len(got) == len(expected) == 40
  for one, other in zip(got, expected, strict=True):
    np.testing.assert_allclose(
      one["train/loss"], other["train/loss"], rtol=1e-5
    )
  largest, _ = runs.largest_differences(workdir, reference, runner.cache_dir)
  assert 0 < largest < 1e-5
