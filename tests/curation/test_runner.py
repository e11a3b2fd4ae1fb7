"""Runner: stages, resume from every point, and refusals of a folder."""

import dataclasses
import json
import os
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import pool as pool_lib
from curation import recipe, runner
from curation.engine import engines, stage_pass
from curation.outputs import curation_page, manifest
from runtime import failures, provenance
from runtime.storage import whole_files
from tests.curation import tiny


@pytest.fixture(autouse=True)
def _nothing_slow(monkeypatch):
  """Leave out git, and the page, which outputs/test_curation_page.py draws."""
  monkeypatch.setattr(provenance, "commit", lambda: "")
  monkeypatch.setattr(
    curation_page, "write", lambda copy, *_: write_page(copy.local)
  )


def write_page(folder):
  whole_files.write(folder / runner.REPORT, b"page")


def contents(folder):
  """Return all that a curation says of its pairs."""
  made = json.loads((folder / "work/manifest.json").read_text())
  return (
    manifest.comparable(made),
    (folder / "work/selection.npy").read_bytes(),
    {
      path.name: pq.read_table(path).to_pydict()
      for path in (folder / "work/signals").iterdir()
    },
    (folder / "work" / runner.REPORT).read_bytes(),
  )


def test_keeps_what_a_loop_over_all_pairs_keeps(tmp_path):
  widths = [row * 31 % 97 for row in range(150)]
  left = [row for row in range(150) if widths[row] >= 20]
  made = tiny.curate(tmp_path, tiny.make_pool(tmp_path))
  steps = made["steps"]
  mean = np.mean([widths[row] / 2 for row in left])
  # The mean of halves is summed of their whole parts, by `Sum`.
  assert abs(steps[1]["facts"]["mean"] - mean) < 0.5
  mean = steps[1]["facts"]["mean"]
  kept = [r for r in left if widths[r] / 2 > mean and widths[r] >= 70]
  selection = np.load(tmp_path / "work/selection.npy")
  assert selection["f1"].tolist() == sorted(row * 7919 % 1000 for row in kept)
  assert made["num_pairs"] == 150
  assert (steps[0]["in"], steps[0]["kept"]) == (150, len(left))
  assert steps[2]["kept"] == made["num_kept"] == len(kept)
  assert made["num_uids"] == made["num_kept"]
  assert sum(x["rows"] for x in made["inputs"]["shards"]) == 150


def test_signals_say_of_each_pair_what_dropped_it(tmp_path):
  pool = tiny.make_pool(tmp_path)
  made = tiny.curate(tmp_path, pool)
  mean = made["steps"][1]["facts"]["mean"]
  paths = [tmp_path / "work/signals" / f"{s.name}.parquet" for s in pool.shards]
  for number, path in enumerate(paths):
    for pair in pq.read_table(path).to_pylist():
      row = number * 50 + (pair["row"] >> pool_lib.CAPTION_BITS)
      width = row * 31 % 97
      assert pair["uid"] == (row * 7919 % 1000).to_bytes(16, "big")
      assert pair["wide"] == width / 2
      expected, wider = None, width / 2
      if width < 20:
        expected, wider = "wide", None
      elif not width / 2 > mean:
        expected, wider = "above_mean", None
      elif width < 70:
        expected = "wider"
      assert (pair["dropped_by"], pair["wider"]) == (expected, wider)


class Shuffled(engines.Inline):
  """Tasks are done in another order, as by so many workers."""

  def __init__(self, num_workers):
    self.random = random.Random(num_workers)

  def run(self, fn, tasks):
    order = list(range(len(tasks)))
    self.random.shuffle(order)
    for number in order:
      yield number, fn(tasks[number])


def test_neither_workers_nor_the_order_of_shards_change_anything(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  tiny.curate(tmp_path / "0", pool)
  expected = contents(tmp_path / "0")
  for num in (2, 4, 16):
    shards = list(pool.shards)
    random.Random(num).shuffle(shards)
    other = dataclasses.replace(pool, shards=tuple(shards))
    tiny.curate(tmp_path / str(num), other, Shuffled(num))
    assert contents(tmp_path / str(num)) == expected


def test_real_processes_do_the_same_though_one_is_killed(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  (tmp_path / "flag").touch()
  deadly = {"deadly": tiny.Deadly(str(tmp_path / "flag"))}
  tiny.curate(tmp_path / "0", pool, steps=tiny.STEPS | deadly)
  (tmp_path / "flag").unlink()
  workers = engines.make("processes", 2)
  try:
    made = tiny.curate(tmp_path / "1", pool, workers, tiny.STEPS | deadly)
  finally:
    workers.close()
  (failure,) = made["failures"]
  assert failure["succeeded"]
  assert "was killed by SIGKILL" in failure["error"]
  assert contents(tmp_path / "1") == contents(tmp_path / "0")


class Cut(BaseException):
  """As a SIGKILL, for what does not clean up behind it."""


def cut_at(monkeypatch, count):
  """Raise Cut before the `count`th file takes its place."""
  counted = 0

  def patch(name):
    real = getattr(os, name)

    def replace(source, target):
      nonlocal counted
      counted += 1
      if counted == count:
        raise Cut
      real(source, target)

    monkeypatch.setattr(os, name, replace)

  patch("replace")
  patch("rename")


def test_goes_on_from_wherever_it_was_stopped(tmp_path, monkeypatch):
  pool = tiny.make_pool(tmp_path / "pool", 2, 30)
  tiny.curate(tmp_path / "0", pool)
  expected = contents(tmp_path / "0")
  count = 0
  while True:
    count += 1
    folder = tmp_path / str(count)
    with monkeypatch.context() as patches:
      cut_at(patches, count)
      try:
        tiny.curate(folder, pool)
        break
      except Cut:
        pass
    tiny.curate(folder, pool)
    assert contents(folder) == expected, count
  # Files of two shards in two stages, a reduction, signals and selection.
  assert count >= 15


def test_what_is_done_is_not_done_again(tmp_path, capsys):
  pool = tiny.make_pool(tmp_path / "pool")
  first = tiny.curate(tmp_path, pool)
  capsys.readouterr()
  again = tiny.curate(tmp_path, pool, Raising())
  assert again["kept_sha256"] == first["kept_sha256"]
  said = capsys.readouterr().err
  assert "Stage 1 of 2 (wide): done before" in said
  assert "Stage 2 of 2 (above_mean, wider): done before" in said


def test_a_reduction_of_many_tasks_shows_how_far_it_is(
  tmp_path, capsys, monkeypatch
):
  pool = tiny.make_pool(tmp_path / "pool", 3)
  monkeypatch.setattr(stage_pass, "_NUM_SHOWN", 4)
  tiny.curate(tmp_path / "0", pool)
  assert "Reducing" not in capsys.readouterr().err
  monkeypatch.setattr(stage_pass, "_NUM_SHOWN", 3)
  tiny.curate(tmp_path / "1", pool)
  assert "Reducing above_mean, tasks: 3/3" in capsys.readouterr().err


class Raising(engines.Inline):
  def run(self, fn, tasks):
    raise AssertionError("there is nothing to do")


def test_other_parameters_begin_with_the_step_they_change(tmp_path, capsys):
  pool = tiny.make_pool(tmp_path)
  tiny.curate(tmp_path, pool)
  changed = tiny.STEPS | {"wider": tiny.Wide(80, "wider")}
  made = tiny.curate(tmp_path, pool, steps=changed)
  names = sorted(p.name[:2] for p in (tmp_path / "work/stages").iterdir())
  assert names == ["00", "01", "01"]
  assert "1 stages of other parameters take" in capsys.readouterr().err
  tiny.curate(tmp_path / "new", pool, steps=changed)
  assert contents(tmp_path) == contents(tmp_path / "new")
  assert made["steps"][2]["parameters"]["min_width"] == 80


def test_files_of_another_recipe_are_never_taken_for_ones_own(
  tmp_path, monkeypatch
):
  pool = tiny.make_pool(tmp_path / "pool", 2, 30)
  tiny.curate(tmp_path, pool)
  expected = contents(tmp_path)
  changed = tiny.STEPS | {"wider": tiny.Wide(80, "wider")}
  count = 0
  while True:
    count += 1
    with monkeypatch.context() as patches:
      cut_at(patches, count)
      try:
        tiny.curate(tmp_path, pool, steps=changed)
        break
      except Cut:
        pass
    tiny.curate(tmp_path, pool)
    assert contents(tmp_path) == expected, count


class Failing(engines.Inline):
  """Fails on the second file, so many times."""

  def __init__(self, times, error=None):
    self.times = times
    self.error = error or OSError("the disk is on fire")

  def run(self, fn, tasks):
    for number, task in enumerate(tasks):
      if getattr(task, "path", "").endswith("1.parquet") and self.times:
        self.times -= 1
        yield number, self.error
      else:
        yield number, fn(task)


def lines_of(folder):
  text = (folder / "work/failures.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_a_shard_that_fails_once_is_tried_again_alone(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  tiny.curate(tmp_path / "0", pool)
  made = tiny.curate(tmp_path / "1", pool, Failing(1))
  assert contents(tmp_path / "1") == contents(tmp_path / "0")
  failed, done = lines_of(tmp_path / "1")
  assert (failed["kind"], failed["message"]) == (
    "OSError",
    "the disk is on fire",
  )
  assert failed["path"] == pool.shards[1].path
  assert (failed["steps"], failed["attempt"]) == (["wide", "above_mean"], 1)
  assert (done["attempt"], done["succeeded"]) == (2, True)
  (failure,) = made["failures"]
  assert (failure["num_failures"], failure["succeeded"]) == (1, True)


def test_a_shard_that_always_fails_is_named_and_the_rest_is_done(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  with pytest.raises(failures.RunError, match="1 of 3 shards failed 2 times"):
    tiny.curate(tmp_path, pool, Failing(9))
  assert len(list((tmp_path / "work/stages").glob("00-*/shards/*"))) == 2
  made = tiny.curate(tmp_path, pool)
  (failure,) = made["failures"]
  assert (failure["num_failures"], failure["succeeded"]) == (2, True)


def test_a_shard_may_be_left_out_and_come_back(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  tiny.curate(tmp_path / "0", pool)
  made = tiny.curate(tmp_path / "1", pool, Failing(9), max_failed=0.4)
  (left_out,) = made["left_out"]
  assert left_out["path"] == pool.shards[1].path
  assert made["num_pairs"] == 100
  (failure,) = made["failures"]
  assert not failure["succeeded"]
  two = dataclasses.replace(pool, shards=(pool.shards[0], pool.shards[2]))
  tiny.curate(tmp_path / "2", two)
  assert contents(tmp_path / "1")[1:] == contents(tmp_path / "2")[1:]
  # Now it can be read: what was made without it is made again.
  tiny.curate(tmp_path / "1", pool)
  assert contents(tmp_path / "1")[1:] == contents(tmp_path / "0")[1:]


def test_a_full_disk_ends_it_at_once(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  full = OSError(28, "No space left on device", "shards/1.parquet")
  with pytest.raises(failures.RunError, match="disk is full.*same command"):
    tiny.curate(tmp_path, pool, Failing(1, full))


def test_where_nothing_works_it_ends_early(tmp_path, monkeypatch):
  monkeypatch.setattr(stage_pass, "_NUM_HOPELESS", 2)
  pool = tiny.make_pool(tmp_path / "pool")
  steps = {"wide": tiny.Wide(None, "wide")}
  with pytest.raises(failures.RunError, match="first 2 of 3 tasks all failed"):
    tiny.curate(tmp_path, pool, steps=steps)


def test_another_pool_is_refused(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  tiny.curate(tmp_path, pool)
  changed = dataclasses.replace(pool.shards[1], version="1/2")
  other = dataclasses.replace(pool, shards=(pool.shards[0], changed))
  with pytest.raises(failures.RunError, match=r"another pool.*\n.*1\.parquet"):
    tiny.curate(tmp_path, other)


def test_a_recipe_is_checked_before_anything_is_written(tmp_path):
  pool = tiny.make_pool(tmp_path / "pool")
  steps = {"tall": tiny.Wide(1, "tall"), "above_mean": tiny.AboveMean()}
  with pytest.raises(ValueError, match="steps.above_mean reads wide, which"):
    tiny.curate(tmp_path, pool, steps=steps)
  steps = {"above_mean": tiny.AboveMean(), "wide": tiny.Wide(1, "wide")}
  with pytest.raises(ValueError, match="put 'wide' before 'above_mean'"):
    tiny.curate(tmp_path, pool, steps=steps)
  assert not (tmp_path / "work").exists()


def test_an_engine_that_is_not_there_is_answered_first(tmp_path):
  config = pool_lib.PoolConfig("nothing", "", (), (), "en", "", "")
  recipe_ = recipe.Recipe(config, "", 2, tiny.STEPS)
  with pytest.raises(ValueError, match="inline, processes, ray; got 'spark'"):
    runner.run(recipe_, tmp_path / "work", engine="spark", num_workers=1)


def test_a_pool_without_pairs_is_an_error(tmp_path):
  path = tmp_path / "0.parquet"
  columns = {"text": ["a"], "status": ["OK"], "error_message": [None]}
  columns["width"] = [1]
  pq.write_table(pa.table(columns), path)
  config = pool_lib.PoolConfig("parquet", str(path), (), (), "en", "", "")
  steps = {"wide": tiny.Wide(1, "wide")}
  recipe_ = recipe.Recipe(config, str(tmp_path / "cache"), 2, steps)
  with pytest.raises(failures.RunError, match="0.parquet has no pairs; in"):
    runner.run(recipe_, tmp_path / "work", engine="inline", num_workers=1)
