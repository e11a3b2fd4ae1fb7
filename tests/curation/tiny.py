"""A small pool and recipe, with operators that workers can import."""

import contextlib
import dataclasses
import os
import pathlib
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import operators, pools, recipe, runner
from curation import pool as pool_lib
from curation.engine import engines


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
class AboveMean(operators.Filter, operators.Reduction):
  """Keep what is above the mean of what is left."""

  columns = ("wide",)
  measured = ("wide",)

  def measure(self, place):
    return Sum()

  def reduce(self, parts, context):
    total, num = sum(context.run(np.load, parts))
    np.save(context.state / "mean.npy", total / num)
    return {"mean": total / num}

  def open(self, context):
    mean = np.load(context.state / "mean.npy")
    return lambda table: operators.Verdict(table["wide"].to_numpy() > mean)


@dataclasses.dataclass(frozen=True)
class Deadly(operators.Filter):
  """Kill the process that works on it, the first time."""

  flag: str

  def open(self, place):
    def decide(table):
      # Made by one process only, of several that come here together.
      with contextlib.suppress(FileExistsError):
        pathlib.Path(self.flag).touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
      return operators.Verdict()

    return decide


STEPS = {
  "wide": Wide(20, "wide"),
  "above_mean": AboveMean(),
  "wider": Wide(70, "wider"),
}


def make_pool(folder, num_shards=3, num_rows=50):
  folder.mkdir(exist_ok=True)
  for number in range(num_shards):
    start = number * num_rows
    rows = range(start, start + num_rows)
    table = pa.table(
      {
        "uid": [f"{row * 7919 % 1000:032x}" for row in rows],
        "text": [
          f"{('map', 'woman')[row % 2]} {row} of France" for row in rows
        ],
        "width": pa.array([row * 31 % 97 for row in rows], pa.int32()),
      }
    )
    pq.write_table(table, folder / f"{number}.parquet", row_group_size=20)
  config = pool_lib.PoolConfig(
    "parquet", str(folder / "*.parquet"), (), (), "en", "", ""
  )
  return pools.FORMATS["parquet"].open_pool(config, folder)


def curate(
  folder, pool, engine=None, steps=None, max_attempts=2, max_failed=0.0
):
  """Curate into folder / "work"."""
  config = pool_lib.PoolConfig("parquet", "", (), (), "en", "", "")
  recipe_ = recipe.Recipe(
    config, str(folder / "cache"), max_attempts, steps or STEPS, max_failed
  )
  return runner.curate(
    recipe_, pool, folder / "work", engine or engines.Inline()
  )
