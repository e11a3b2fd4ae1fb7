"""main.py on sets by name: one result for any devices, processes and order."""

import json
import signal
import socket

import pytest

from configs.parts import sources
from evaluators.sets import kinds
from tests import runs
from tests.inference import fresh_run, wds_folders
from training import config as config_lib

_NUM = 150
# Writes a byte for each image that a process decodes.
_COUNTED = """
import os
from input_pipeline.images import image_ops
decode = image_ops.decode
def counted(data):
  with open(f"{path}.{{os.getpid()}}", "a") as file: file.write(".")
  return decode(data)
image_ops.decode = counted
"""


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
def test_each_process_decodes_its_own_rows_of_the_sets_of_a_config(
  folder, tmp_path
):
  """Results are those of one process, to the byte."""
  config = config_lib.to_mapping(runs.make_config({}))
  tars = {
    name: sources.source(
      format="webdataset", path=str(folder / f"wds_{name}" / "test/{0..1}.tar")
    ).to_dict()
    for name in ("beasts", "views")
  }
  config["evaluate"] |= {
    "batch_size": 16,
    "sets": {
      "beasts": kinds.classification(
        tars["beasts"],
        label=".cls",
        classes=str(folder / "wds_beasts" / "classnames.txt"),
      ),
      "views": kinds.retrieval(tars["views"] | {"caption": ("txt:lines",)}),
    },
  }
  path = tmp_path / "run"
  config["data"]["cache_dir"] = str(tmp_path / "cache")
  fresh_run.write(path, config_lib.checked(config))
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

  def start(out, *more, devices):
    return runs.Runner(None, None).start(
      path,
      *("--task=evaluate", f"--out={tmp_path / out}", *more),
      config=None,
      env={"JAX_NUM_CPU_DEVICES": str(devices)},
      before=_COUNTED.format(path=str(tmp_path / out)),
    )

  _finished(
    *(
      start(
        "two",
        f"--coordinator_address=127.0.0.1:{port}",
        "--num_processes=2",
        f"--process_id={index}",
        devices=2,
      )
      for index in range(2)
    )
  )
  counts = [path.stat().st_size for path in tmp_path.glob("two.*")]
  (tmp_path / "cache" / "embeddings").rename(tmp_path / "old")
  _finished(start("eight", devices=8))
  (count,) = (x.stat().st_size for x in tmp_path.glob("eight.*"))
  # The first process decodes the pictures of the page, too.
  num_shown = count - _NUM - 40
  assert 0 < num_shown < 2 * (_NUM + 40)
  # Half of each batch of 16; 150 = 9 x 16 + 6 and 40 = 2 x 16 + 8.
  assert sorted(counts) == [9 * 8 + 2 * 8, 9 * 8 + 6 + 2 * 8 + 8 + num_shown]
  results = [
    (tmp_path / name / "results.json").read_bytes() for name in ("two", "eight")
  ]
  assert results[0] == results[1]
  # Rows, keys, captions, embeddings and digests of what was read.
  parts = [
    {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.npz")}
    for kept in (tmp_path / "old", tmp_path / "cache" / "embeddings")
  ]
  assert len(parts[0]) == 2
  assert parts[0] == parts[1]
  assert json.loads(results[0])["views"]["num_texts"] == 80


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
