"""The runner: stages, reductions, resume, retry; on operators of its own."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import engines, formats, operators, plan, recipe, runner
from training import failures


@dataclasses.dataclass(frozen=True)
class Wide(operators.Filter):
  """Keep what is wide enough; say how wide."""

  min_width: int
  signal: str
  columns = ("width",)

  @property
  def signals(self):
    return (self.signal,)

  def open(self, place):
    def decide(table):
      widths = table["width"].to_numpy()
      return operators.Verdict(
        widths >= self.min_width, {self.signal: widths / 2}
      )

    return decide


class Sum:
  def __init__(self):
    self.total = np.zeros(2, np.int64)

  def add(self, table):
    self.total += (int(table["wide"].to_numpy().sum()), len(table))

  def save(self, path):
    with open(path, "wb") as file:
      np.save(file, self.total)


@dataclasses.dataclass(frozen=True)
class AboveMean(operators.Reduction):
  """Keep what is above the mean of what is left."""

  columns = ("wide",)
  measured = ("wide",)

  def measure(self, place):
    return Sum()

  def reduce(self, parts, place, run):
    total, num = sum(run(np.load, parts))
    np.save(place.state / "mean.npy", total / num)
    return {"mean": total / num}

  def open(self, place):
    mean = np.load(place.state / "mean.npy")
    return lambda table: operators.Verdict(table["wide"].to_numpy() > mean)


def make_pool(folder, num_shards=3, num_rows=50):
  for number in range(num_shards):
    start = number * num_rows
    rows = range(start, start + num_rows)
    table = pa.table(
      {
        "uid": [f"{row * 7919 % 1000:032x}" for row in rows],
        "text": [f"caption {row}" for row in rows],
        "width": pa.array([row * 31 % 97 for row in rows], pa.int32()),
      }
    )
    pq.write_table(table, folder / f"{number}.parquet", row_group_size=20)
  config = recipe.PoolConfig(
    "parquet", str(folder / "*.parquet"), (), (), "en", "", ""
  )
  return formats.FORMATS["parquet"].open_pool(config, folder)


STEPS = {
  "wide": Wide(20, "wide"),
  "above_mean": AboveMean(),
  "wider": Wide(70, "wider"),
}


def curate(tmp_path, pool, engine=None, steps=None):
  config = recipe.PoolConfig("parquet", "", (), (), "en", "", "")
  recipe_ = recipe.Recipe(config, str(tmp_path / "cache"), 2, steps or STEPS)
  return runner.curate(
    recipe_, pool, tmp_path / "work", engine or engines.Inline()
  )


def test_keeps_what_a_loop_over_all_pairs_keeps(tmp_path):
  widths = [row * 31 % 97 for row in range(150)]
  left = [row for row in range(150) if widths[row] >= 20]
  mean = sum(widths[row] // 2 for row in left)  # the sum is of whole numbers
  manifest = curate(tmp_path, make_pool(tmp_path))
  steps = manifest["steps"]
  mean = steps[1]["facts"]["mean"]
  kept = [r for r in left if widths[r] / 2 > mean and widths[r] >= 70]
  selection = np.load(tmp_path / "work/selection.npy")
  assert selection["f1"].tolist() == sorted(row * 7919 % 1000 for row in kept)
  assert manifest["num_pairs"] == 150
  assert (steps[0]["in"], steps[0]["kept"]) == (150, len(left))
  assert steps[2]["kept"] == manifest["num_kept"] == len(kept)


class Failing(engines.Inline):
  """Fails on one task, so many times."""

  def __init__(self, times):
    self.times = times
    self.done = 0

  def run(self, fn, tasks):
    for number, task in enumerate(tasks):
      if getattr(task, "path", "").endswith("1.parquet") and self.times:
        self.times -= 1
        yield number, OSError("the disk is on fire")
      else:
        self.done += 1
        yield number, fn(task)


def test_a_shard_that_fails_once_is_tried_again_alone(tmp_path):
  engine = Failing(1)
  manifest = curate(tmp_path, make_pool(tmp_path), engine)
  expected = curate(tmp_path / "other", make_pool(tmp_path))
  assert manifest["kept_sha256"] == expected["kept_sha256"]
  (line,) = (tmp_path / "work/failures.jsonl").read_text().splitlines()
  assert json.loads(line)["error"] == "OSError: the disk is on fire"


def test_a_shard_that_always_fails_is_named_and_the_rest_is_done(tmp_path):
  pool = make_pool(tmp_path)
  with pytest.raises(failures.RunError, match="1 of 3 shards failed 2 times"):
    curate(tmp_path, pool, Failing(9))
  engine = Failing(0)
  curate(tmp_path, pool, engine)
  # 3 tasks in the first stage, of which two return at once, 3 in the second.
  stages = plan.make(STEPS, "")
  assert len(stages) == 2


def test_other_parameters_begin_with_the_step_they_change(tmp_path):
  pool = make_pool(tmp_path)
  curate(tmp_path, pool)
  curate(tmp_path, pool, steps=STEPS | {"wider": Wide(80, "wider")})
  names = sorted(p.name[:2] for p in (tmp_path / "work/stages").iterdir())
  assert names == ["00", "01", "01"]
