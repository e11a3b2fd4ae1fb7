"""A folder belongs to one curation at a time."""

import json

import pytest

from runtime import failures
from runtime.storage import unfinished
from tests.curation import tiny


def test_a_folder_in_use_is_refused(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool", 1, 5)
  with (
    unfinished.claim(tmp_path / "work", "--workdir=work"),
    pytest.raises(failures.RunError, match="work is in use by another run"),
  ):
    tiny.curate(tmp_path, pool)
  tiny.curate(tmp_path, pool)  # and free again


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "work").touch()
  pool = tiny.make_pool(tmp_path / "pool", 1, 5)
  with pytest.raises(failures.RunError, match="work cannot be written"):
    tiny.curate(tmp_path, pool)


def test_the_folder_of_a_training_run_is_refused(tmp_path):
  (tmp_path / "work/checkpoints").mkdir(parents=True)
  pool = tiny.make_pool(tmp_path / "pool", 1, 5)
  with pytest.raises(failures.RunError, match="that of a training run"):
    tiny.curate(tmp_path, pool)


def test_what_a_kill_left_half_written_is_deleted(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool", 1, 5)
  tiny.curate(tmp_path, pool)
  work = tmp_path / "work"
  (stage,) = work.glob("stages/00-*")
  left = [
    work / ".selection.npy.tmp-1",
    work / "signals/.a.parquet.tmp-2",
    stage / "shards/.a.parquet.tmp-3",
    stage / "parts/above_mean/.a.tmp-4",
    stage / "state/.above_mean.tmp-5/mean.npy",
  ]
  left[-1].parent.mkdir()
  for path in left:
    path.touch()
  tiny.curate(tmp_path, pool)
  assert not [path for path in left if path.exists()]


def test_a_folder_of_a_version_with_fewer_fields_goes_on(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool", 1, 5)
  tiny.curate(tmp_path, pool)
  path = tmp_path / "work/pool.json"
  facts = json.loads(path.read_text())
  assert facts["pool"].pop("image_root") == ""
  path.write_text(json.dumps(facts))
  tiny.curate(tmp_path, pool)
  facts["pool"]["image_root"] = "/elsewhere"
  path.write_text(json.dumps(facts))
  with pytest.raises(failures.RunError, match="pool.image_root"):
    tiny.curate(tmp_path, pool)
