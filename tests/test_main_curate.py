"""--task=curate as a process of its own: killed, stopped, and gone on with."""

import json
import os
import pathlib
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import recipe, runner
from curation.outputs import manifest
from runtime import failures
from runtime.storage import bucket_path, objects
from tests import bucket_emulators as emulators
from tests import runs

_CONFIG = """
from configs.curate import fields

def get_config():
  config = fields.recipe(
    size={"op": "image_size", "min_side": 40, "strict": True},
  )
  config.pool.format = "parquet"
  config.pool.path = PATH
  return config
"""
_NUM_SHARDS = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  """Return the path of a config and its values."""
  folder = tmp_path_factory.mktemp("pool")
  for number in range(_NUM_SHARDS):
    rows = range(10 * number, 10 * number + 10)
    sides = pa.array([row * 31 % 97 for row in rows], pa.int32())
    table = pa.table(
      {
        "uid": [f"{row:032x}" for row in rows],
        "text": [f"caption {row}" for row in rows],
        "width": sides,
        "height": sides,
      }
    )
    pq.write_table(table, folder / f"{number}.parquet")
  path = folder / "config.py"
  code = _CONFIG.replace("PATH", repr(str(folder / "*.parquet")))
  path.write_text(code)
  names: dict = {}
  exec(code, names)
  return path, names["get_config"]().to_dict()


def num_done(workdir):
  return len(list(workdir.glob("stages/00-*/shards/*.parquet")))


def start(config, workdir, engine="processes"):
  return runs.Runner(pathlib.Path("cache"), None).start(
    workdir,
    "--task=curate",
    f"--engine={engine}",
    "--num_workers=1",
    config=str(config),
  )


def children(process):
  """Return the processes that a process has started."""
  path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
  return [int(number) for number in path.read_text().split()]


def is_alive(number):
  try:
    os.kill(number, 0)
  except ProcessLookupError:
    return False
  status = pathlib.Path(f"/proc/{number}/stat").read_text()
  return status.rpartition(")")[2].split()[0] != "Z"


def wait_for_end(numbers):
  deadline = time.monotonic() + 60  # at once, but for a busy machine
  while any(map(is_alive, numbers)):
    assert time.monotonic() < deadline, "workers outlive their parent"
    time.sleep(0.01)


def resumed(config, workdir, capsys):
  """Return the manifest once this process has done what is left."""
  before = num_done(workdir)
  assert before < _NUM_SHARDS, "stopped too late to show anything"
  made = recipe.checked(config)
  assert not runner.run(made, workdir, engine="inline", num_workers=1)
  said = capsys.readouterr()
  assert f"{before} of {_NUM_SHARDS} shards done before" in said.err
  return json.loads((workdir / "manifest.json").read_text())


@pytest.mark.slow
def test_killed_and_stopped(config, tmp_path, capsys):
  path, values = config
  workdirs = {}
  for number in (signal.SIGKILL, signal.SIGTERM):
    workdirs[number] = workdir = tmp_path / number.name
    process = start(path, workdir)
    runs.wait_until(lambda folder=workdir: num_done(folder) >= 3, process)
    others = children(process)
    os.kill(process.pid, number)
    _, said = process.communicate()
    assert others
    wait_for_end(others)
    if number == signal.SIGTERM:
      assert process.returncode == 75
      assert "SIGTERM: ended; finished work is kept" in said
  digests = [
    resumed(values, workdir, capsys)["kept_sha256"]
    for workdir in workdirs.values()
  ]
  whole = tmp_path / "whole"
  runner.run(recipe.checked(values), whole, engine="inline", num_workers=1)
  expected = json.loads((whole / "manifest.json").read_text())
  assert digests == [expected["kept_sha256"]] * 2
  kept = [row for row in range(10 * _NUM_SHARDS) if row * 31 % 97 > 40]
  assert np.load(whole / "selection.npy")["f1"].tolist() == kept


@pytest.mark.slow
def test_killed_in_a_bucket(config, tmp_path, capsys):
  path, values = config
  with (
    emulators.started("gs") as emulator,
    emulators.connected(emulator.variables),
  ):
    workdir = bucket_path.make(f"{emulator.root}/curations/killed")
    process = start(path, workdir)
    runs.wait_until(lambda: num_done(workdir) >= 3, process)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(failures.RunError, match="is in use by another run"):
      runner.run(
        recipe.checked(values), workdir, engine="inline", num_workers=1
      )
    others = children(process)
    runs.kill(process)
    wait_for_end(others)
    made = resumed(values, workdir, capsys)
    names = objects.sizes(str(workdir))
    chosen = (workdir / runner.SELECTION).read_bytes()
  whole = tmp_path / "whole"
  runner.run(recipe.checked(values), whole, engine="inline", num_workers=1)
  expected = json.loads((whole / "manifest.json").read_text())
  assert manifest.comparable(made) == manifest.comparable(expected)
  assert chosen == (whole / runner.SELECTION).read_bytes()
  assert set(names) == {
    file.relative_to(whole).as_posix()
    for file in whole.rglob("*")
    if file.is_file()
  }


@pytest.mark.slow
def test_ray_does_not_change_the_exit_code(config, tmp_path, capsys):
  path, values = config
  workdir = tmp_path / "run"
  process = start(path, workdir, engine="ray")
  runs.wait_until(lambda: num_done(workdir) >= 3, process)
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate()
  assert process.returncode == 75, said
  assert "SIGTERM: ended; finished work is kept" in said
  resumed(values, workdir, capsys)
