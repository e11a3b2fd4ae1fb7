"""Pools for tests of operators, and what a curation keeps of them."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import engines, formats, recipe, runner


def uid(number: int) -> str:
  """Return the UID of pair `number`, in no order with the numbers."""
  return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


def make_pool(folder: pathlib.Path, columns, shards):
  """Write a pool; return it.

  Args:
    folder: of the files; made.
    columns: name -> Arrow array, of all pairs; without `text` they get one.
    shards: lists of pairs' numbers, one a shard, in order.
  """
  folder.mkdir(parents=True)
  num_pairs = len(next(iter(columns.values())))
  texts = {"text": pa.array([f"pair {n}" for n in range(num_pairs)])}
  table = pa.table(texts | dict(columns))
  for number, rows in enumerate(shards):
    part = table.take(pa.array(rows, pa.int64()))
    part = part.append_column(
      "uid", pa.array([uid(row) for row in rows], pa.string())
    )
    pq.write_table(part, folder / f"{number}.parquet")
  config = recipe.PoolConfig(
    "parquet", str(folder / "*.parquet"), (), (), "en", "", "uid"
  )
  return formats.FORMATS["parquet"].open_pool(config, folder)


def kept(tmp_path, name, columns, steps, shards):
  """Curate; return (numbers of the pairs that are kept, the manifest)."""
  pool = make_pool(tmp_path / name / "pool", columns, shards)
  config = recipe.PoolConfig("parquet", "", (), (), "en", "", "")
  recipe_ = recipe.Recipe(config, str(tmp_path / "cache"), 1, steps)
  workdir = tmp_path / name / "work"
  runner.curate(recipe_, pool, workdir, engines.Inline())
  manifest = json.loads((workdir / "manifest.json").read_text())
  selection = np.load(workdir / "selection.npy")
  return sorted(selection["f1"].tolist()), manifest


def in_other_shards(num_rows: int) -> list[list[int]]:
  """Return all pairs in three shards, in another order, one of them empty."""
  order = np.random.default_rng(5).permutation(num_rows).tolist()
  return [order[: num_rows // 3], [], order[num_rows // 3 :]]


def embeddings(rows: np.ndarray) -> pa.Array:
  """Return float16 [N, E] as a column."""
  flat = pa.array(rows.astype(np.float16).ravel())
  return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
