"""main.py as several processes: equal to one, and none waits for a lost one."""

import dataclasses
import json
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from evaluators.sets import kinds
from tests import runs

_ARGS = ("--config.total_steps=15",)
_NO_EVALUATION = (
  "--config.total_steps=15",
  "--config.evaluate.sets={}",
)
# From step 11 on a second each, so that a signal does not come too late.
_SLOW = """
import time
from training import metrics
write = metrics.Writer.write
def slow(self, step, values):
  write(self, step, values)
  if step > 10: time.sleep(1)
metrics.Writer.write = slow
"""


@pytest.fixture(scope="module")
def alone(runner, tmp_path_factory):
  """Return the folder of a run of one process with 4 devices."""
  workdir = tmp_path_factory.mktemp("alone") / "run"
  _complete(runner.start_cluster(workdir, 1, *_ARGS))
  return workdir


@pytest.fixture(scope="module")
def photos_of_noise(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  for n in range(11):
    pixels = np.random.default_rng(n).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{n:02}.png")
  return folder


def _complete(processes, code=0):
  results = [runs.finish(process) for process in processes]
  assert [r.code for r in results] == [code] * len(results), results[0].stderr
  return results


def _run_to_step_11(runner, workdir, num_processes, *args):
  processes = runner.start_cluster(workdir, num_processes, *args, before=_SLOW)
  saved = workdir / "checkpoints" / "10"
  runs.wait_until(
    lambda: runs.last_step(workdir) >= 11 and saved.exists(), processes[0]
  )
  return processes


def _kill(processes, lost):
  """Kill one; the others must stop, and say why."""
  start = time.monotonic()
  runs.kill(processes[lost])
  for index, process in enumerate(processes):
    if index != lost:
      result = runs.finish(process)
      assert result.code != 0
      message = f"error: process {lost} of {len(processes)} ended"
      # Without process 0, JAX may be faster to end a process, in C++.
      in_cpp = "Terminating process because the JAX distributed service"
      ended = message in result.stderr or (not lost and in_cpp in result.stderr)
      assert ended, result.stderr
      assert "Traceback" not in result.stderr
  # About 1; JAX's heartbeat alone would take 60.
  assert time.monotonic() - start < 30


def _train_rows(workdir):
  return [json.loads(line) for line in runs.train_lines(workdir)]


def _assert_close(got, expected, cache_dir, num_steps=15):
  rows, expected_rows = (
    _train_rows(folder)[:num_steps] for folder in (got, expected)
  )
  assert [row["step"] for row in rows] == list(range(1, num_steps + 1))
  for row, other in zip(rows, expected_rows, strict=False):
    # Processes sum in another order than devices of one: rounding of 6e-8
    # of every gradient, which Adam amplifies. Another batch gives 1e-1.
    np.testing.assert_allclose(
      row["train/loss"], other["train/loss"], rtol=1e-4
    )
  arrays, expected_arrays = (
    runs.saved_arrays(folder, cache_dir) for folder in (got, expected)
  )
  assert arrays.keys() == expected_arrays.keys()
  for name, array in expected_arrays.items():
    # Adam moves a parameter by up to 1e-3 a step, whatever its gradient's
    # size, and so by up to some 1e-4 where a gradient is all rounding.
    np.testing.assert_allclose(
      arrays[name], array, rtol=1e-3, atol=3e-4, err_msg=name
    )


def _until_step_10(workdir, folder):
  """Copy a run as it was at step 10."""
  copy = shutil.copytree(workdir, folder)
  for path in (copy / "checkpoints").iterdir():
    if path.name.isdecimal() and int(path.name) > 10:
      shutil.rmtree(path)
  return copy


@pytest.mark.long
@pytest.mark.slow
def test_four_processes_then_two_then_one(runner, alone, tmp_path):
  workdir = tmp_path / "run"
  processes = _run_to_step_11(runner, workdir, 4, *_NO_EVALUATION)
  _kill(processes, lost=2)
  _assert_close(
    _until_step_10(workdir, tmp_path / "four"),
    _until_step_10(alone, tmp_path / "one"),
    runner.cache_dir,
    num_steps=10,
  )

  processes = runner.start_cluster(workdir, 2, *_NO_EVALUATION, before=_SLOW)
  resumed = lambda: runs.last_step(workdir) >= 12  # noqa: E731
  time.sleep(2)  # metrics of steps after 10 are dropped at the start
  runs.wait_until(lambda: runs.last_step(workdir) <= 11, processes[0])
  runs.wait_until(resumed, processes[0])
  # One process gets the signal; both save the same step.
  processes[1].send_signal(signal.SIGTERM)
  first, second = _complete(processes, code=75)
  assert "Resuming from the checkpoint of step 10" in first.stderr
  assert "SIGTERM: saved step 1" in first.stderr
  assert "SIGTERM" not in second.stderr
  saved = max(
    int(p.name)
    for p in (workdir / "checkpoints").iterdir()
    if p.name.isdecimal()
  )
  assert 12 <= saved < 15

  (last,) = _complete(runner.start_cluster(workdir, 1, *_NO_EVALUATION))
  assert f"Resuming from the checkpoint of step {saved}" in last.stderr
  _assert_close(workdir, alone, runner.cache_dir)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_one_is_asked_to_end_while_compiling(stopped, runner, tmp_path):
  workdir = tmp_path / "run"
  runner = dataclasses.replace(runner, compiled=None)
  processes = runner.start_cluster(workdir, 2, *_NO_EVALUATION)
  runs.wait_until((workdir / "checkpoints").exists, processes[0])
  time.sleep(2)
  processes[stopped].send_signal(signal.SIGTERM)
  results = _complete(processes, code=143)
  assert "SIGTERM: ending at once" in results[0].stderr or stopped
  other = results[1 - stopped].stderr
  assert f"process {stopped} of 2 was asked to end" in other
  assert "Traceback" not in other


@pytest.mark.slow
def test_two_processes_lose_the_first_and_go_on(runner, alone, tmp_path):
  workdir = tmp_path / "run"
  processes = _run_to_step_11(runner, workdir, 2, *_ARGS)
  _kill(processes, lost=0)
  first, second = _complete(runner.start_cluster(workdir, 2, *_ARGS))
  assert "Resuming from the checkpoint of step 10" in first.stderr
  assert "image to text" in first.stdout
  # Nothing but what the CPU's collectives print in C++.
  assert "Rank" in second.stdout
  assert "image" not in second.stdout
  _assert_close(workdir, alone, runner.cache_dir)
  got, expected = (
    json.loads((folder / "results.json").read_text())
    for folder in (workdir, alone)
  )
  for direction in ("image_to_text", "text_to_image"):
    figures = dict(expected["compositional"][direction])
    assert set(figures.pop("intervals")) == set(kinds.RETRIEVAL_METRICS)
    for name, value in figures.items():
      # Rounding may move a few of 304 queries by one rank.
      slack = 2.0 if name == "median_rank" else 3 / 304
      assert abs(got["compositional"][direction][name] - value) <= slack
  assert (workdir / "report.html").exists()


def test_shards_of_embeddings_by_two_processes(
  alone, runner, tmp_path, photos_of_noise
):
  """Each process makes every second shard, on its own devices."""
  args = (
    "--task=embed",
    f"--images={photos_of_noise}",
    "--layout=shards",
    "--shard_rows=3",
    "--dtype=float32",
  )
  outs = {num: tmp_path / str(num) for num in (1, 2)}
  for num, out in outs.items():
    _complete(
      runner.start_cluster(alone, num, *args, f"--out={out}", config=None)
    )
  names = [
    sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    for out in outs.values()
  ]
  assert names[0] == names[1]
  assert len([x for x in names[0] if x.suffix == ".npy"]) == 4
  for name in names[0]:
    one, two = (out / name for out in outs.values())
    if name.suffix == ".npy":
      np.testing.assert_allclose(np.load(one), np.load(two), atol=2e-6)
    else:
      assert one.read_bytes() == two.read_bytes(), name
