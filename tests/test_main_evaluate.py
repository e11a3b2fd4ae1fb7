"""main.py on sets by name: one result for any devices, processes and order."""

import json
import signal
import socket

import pytest

from tests import runs
from tests.inference import fresh_run, wds_folders

_NUM = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Return a folder with a run of random weights and two sets."""
  made = tmp_path_factory.mktemp("sets")
  fresh_run.write(made / "run", runs.make_config({}))
  wds_folders.classification(made / "wds_beasts", [i % 6 for i in range(_NUM)])
  wds_folders.retrieval(
    made / "wds_views", [[f"{i}a", f"{i}b"] for i in range(40)]
  )
  return made


def _start(folder, out, cache, *more, devices=1):
  return runs.Runner(None, None).start(
    None,
    "--task=evaluate",
    f"--workdir={folder / 'run'}",
    f"--sets={folder / 'wds_beasts'},{folder / 'wds_views'}",
    f"--out={out}",
    f"--cache_dir={cache}",
    "--batch_size=16",
    *more,
    config=None,
    env={"JAX_NUM_CPU_DEVICES": str(devices)},
  )


def _finished(*processes):
  for process in processes:
    result = runs.finish(process)
    assert result.code == 0, result.stderr


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
  """Return results.json of one process with one device."""
  made = tmp_path_factory.mktemp("alone")
  _finished(_start(folder, made / "out", made / "cache"))
  return (made / "out" / "results.json").read_bytes()


@pytest.mark.slow
def test_the_same_on_any_devices_and_at_once(folder, alone, tmp_path):
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
  # Both write the parts of one cache.
  _finished(
    _start(folder, tmp_path / "eight", tmp_path / "cache", devices=8),
    *(
      _start(
        *(folder, tmp_path / "two", tmp_path / "cache"),
        f"--coordinator_address=127.0.0.1:{port}",
        "--num_processes=2",
        f"--process_id={index}",
        devices=2,
      )
      for index in range(2)
    ),
  )
  for name in ("eight", "two"):
    assert (tmp_path / name / "results.json").read_bytes() == alone
  assert json.loads(alone)["beasts"]["num_examples"] == _NUM


@pytest.mark.slow
def test_killed_and_started_again(folder, alone, tmp_path):
  cache = tmp_path / "cache"
  process = _start(folder, tmp_path / "out", cache)
  runs.wait_until(lambda: any(cache.rglob("*.npz")), process)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (tmp_path / "out" / "results.json").exists()
  _finished(_start(folder, tmp_path / "out", cache))
  assert (tmp_path / "out" / "results.json").read_bytes() == alone
