"""Runs of main.py whose folder lies in a bucket, beside one on the disk."""

import pytest

from runtime.storage import bucket_path, committed, objects, segments
from tests import emulators, runs

STEPS = 6
CONFIG = "tests/tiny.py:skin_tone"
FLAGS = (f"--config.total_steps={STEPS}", "--config.checkpoint.every_steps=1")


@pytest.fixture(scope="module")
def undisturbed(runner, reference, tmp_path_factory):
  """Return the folder of a run on the disk."""
  del reference  # prepared the data and compiled the programs
  workdir = tmp_path_factory.mktemp("runs") / "disk"
  result = _run(runner, workdir)
  assert result.code == 0, result.stderr
  return workdir


@pytest.fixture(scope="module", params=["s3", "gs"])
def emulator(request):
  with (
    emulators.started(request.param) as emulator,
    emulators.connected(emulator.variables),
  ):
    yield emulator


def _run(runner, workdir, *args):
  return runner.run(workdir, *FLAGS, *args, config=CONFIG)


def _assert_same(got, expected, runner):
  runs.assert_same_run(got, expected, runner.cache_dir)
  for name in ("results.json", "image_protocol.json", "tokenizer/rule.json"):
    assert (got / name).read_bytes() == (expected / name).read_bytes(), name


def _objects_of(workdir, step):
  return objects.sizes(str(workdir / "checkpoints" / str(step)))


def _kill(runner, workdir, condition):
  """Start a run, and kill it as soon as a condition holds."""
  process = runner.start(workdir, *FLAGS, config=CONFIG)
  runs.wait_until(condition, process)
  runs.kill(process)


@pytest.mark.slow
def test_kills_in_a_bucket(emulator, runner, undisturbed):
  workdir = bucket_path.make(f"{emulator.root}/killed")
  # While a step is written, after it, and while the results are.
  _kill(runner, workdir, lambda: 0 < len(_objects_of(workdir, 2)) < 20)
  whole = committed.COMMIT
  _kill(runner, workdir, lambda: whole in _objects_of(workdir, 4))
  _kill(runner, workdir, lambda: whole in _objects_of(workdir, STEPS))
  result = _run(runner, workdir)
  assert result.code == 0, result.stderr
  assert "not usable" not in result.stderr
  _assert_same(workdir, undisturbed, runner)
  assert "waiting" not in result.stderr  # a killed owner is of this machine
  assert not segments.has_parts(workdir / "metrics.jsonl")
  assert (workdir / "report.html").read_text() != ""
  assert (workdir / "tensorboard").is_dir()
