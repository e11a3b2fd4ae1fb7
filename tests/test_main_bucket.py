"""Runs of main.py whose folder lies in a bucket, beside one on the disk."""

import time

import pytest

from runtime.storage import (
  bucket_path,
  committed,
  objects,
  segments,
  whole_files,
)
from tests import bucket_emulators as emulators
from tests import runs

STEPS = 6
CONFIG = "tests/tiny.py:skin_tone"
FLAGS = (f"--config.total_steps={STEPS}", "--config.checkpoint.every_steps=1")


@pytest.fixture(scope="module")
def undisturbed(runner, reference, tmp_path_factory):
  """Return the folder of a run on the disk."""
  del reference  # prepared the data and compiled the programs
  workdir = tmp_path_factory.mktemp("runs") / "disk"
  result = run(runner, workdir)
  assert result.code == 0, result.stderr
  return workdir


@pytest.fixture(scope="module", params=["s3", "gs"])
def emulator(request):
  with (
    emulators.started(request.param) as emulator,
    emulators.connected(emulator.variables),
  ):
    yield emulator


def run(runner, workdir, *args):
  return runner.run(workdir, *FLAGS, *args, config=CONFIG)


_END = (".lock", "results.json", "report.html")


@pytest.fixture
def proxy(emulator):
  """Return a proxy before the emulator; `variables` point a process to it."""
  made = emulators.Proxy(emulator.port)
  yield made
  made.close()


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


def has_step(workdir, step):
  return lambda: committed.COMMIT in _objects_of(workdir, step)


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_kills_in_a_bucket(emulator, runner, undisturbed):
  workdir = bucket_path.make(f"{emulator.root}/killed")
  # While a step is written, after it, and while the results are.
  _kill(runner, workdir, lambda: 0 < len(_objects_of(workdir, 2)) < 20)
  _kill(runner, workdir, has_step(workdir, 4))
  _kill(runner, workdir, has_step(workdir, STEPS))
  result = run(runner, workdir)
  assert result.code == 0, result.stderr
  assert "not usable" not in result.stderr
  _assert_same(workdir, undisturbed, runner)
  assert "waiting" not in result.stderr  # a killed owner is of this machine
  assert not segments.has_parts(workdir / "metrics.jsonl")
  assert (workdir / "report.html").read_text() != ""
  assert (workdir / "tensorboard").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["gs"], indirect=True)
def test_a_run_of_a_disk_goes_on_in_a_bucket_that_is_slow_and_fails(
  emulator, proxy, runner, undisturbed
):
  workdir = bucket_path.make(f"{emulator.root}/copied")
  for path in undisturbed.rglob("*"):  # as if it had been killed after step 3
    name = path.relative_to(undisturbed).as_posix()
    is_later = name.startswith(tuple(f"checkpoints/{i}/" for i in (4, 5, 6)))
    if path.is_file() and not is_later and name not in _END:
      whole_files.write(workdir / name, path.read_bytes())
  proxy.delay = 0.02
  variables = emulators.variables(emulator.scheme, proxy.port)
  process = runner.start(workdir, *FLAGS, config=CONFIG, env=variables)
  runs.wait_until(has_step(workdir, 4), process)
  proxy.mode = "503"
  time.sleep(3)
  assert proxy.num_disturbed
  proxy.mode = "pass"
  result = runs.finish(process)
  assert result.code == 0, result.stderr
  assert "Resuming from the checkpoint of step 3" in result.stderr
  _assert_same(workdir, undisturbed, runner)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_one_line(emulator, runner):
  address = f"{emulator.scheme}://no-such-bucket/runs/a"
  result = run(runner, address)
  assert result.code == 1
  assert result.stderr == (
    f"error: --workdir={address}: there is no bucket"
    f" {emulator.scheme}://no-such-bucket\n"
  )
