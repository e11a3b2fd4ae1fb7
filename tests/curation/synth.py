"""Pools for tests of operators, and the pairs that a curation keeps."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from curation import pool, recipe, runner
from curation.engine import engines
from curation.outputs import curation_page
from curation.rules import model_scores


def uid(number: int) -> str:
  """Return the UID of pair `number`, in no order with the numbers."""
  return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pairs in memory; see curation.pool.Pool.

  Attributes:
    table: columns of all pairs.
    rows: lists of pairs' numbers, one a shard, in order.
  """

  table: pa.Table
  rows: Sequence[Sequence[int]]

  @property
  def shards(self) -> tuple[pool.Shard, ...]:
    return tuple(
      pool.Shard(f"shard-{number}", "memory", 0, len(rows), str(rows))
      for number, rows in enumerate(self.rows)
    )

  @property
  def columns(self) -> frozenset[str]:
    return frozenset(self.table.column_names)

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    numbers = np.array(self.rows[int(shard.name.split("-")[1])], np.int64)
    if rows is None:
      rows = np.arange(len(numbers))
    # Tables of several lengths, as those of files are.
    for some in np.split(rows, range(50, len(rows), min(max_rows, 50))):
      if len(some):
        chosen = numbers[some]
        names = [bytes.fromhex(uid(number)) for number in chosen.tolist()]
        yield pa.table(
          {
            "uid": pa.array(names, pool.UID_TYPE),
            "row": pa.array(some),
            **{
              column: self.table[column].take(pa.array(chosen))
              for column in columns
              if column not in ("uid", "row")
            },
          }
        )


def kept(
  tmp_path: pathlib.Path,
  name: str,
  columns: Mapping[str, pa.Array],
  steps,
  shards: Sequence[Sequence[int]],
):
  """Curate; return (numbers of the pairs that are kept, the manifest)."""
  config = pool.PoolConfig("parquet", "", (), (), "en", "", "")
  recipe_ = recipe.Recipe(config, str(tmp_path / "cache"), 1, steps)
  workdir = tmp_path / name
  with pytest.MonkeyPatch.context() as patch:
    # Drawing the report takes longer than all else, and has its own tests.
    patch.setattr(curation_page, "write", lambda *args, **fields: None)
    runner.curate(
      recipe_, Pool(pa.table(columns), shards), workdir, engines.Inline()
    )
  manifest = json.loads((workdir / "manifest.json").read_text())
  selection = np.load(workdir / "selection.npy")
  return sorted(selection["f1"].tolist()), manifest


def in_other_shards(num_rows: int) -> list[list[int]]:
  """Return all pairs in three shards, in another order, one of them empty."""
  order = np.random.default_rng(5).permutation(num_rows).tolist()
  return [order[: num_rows // 3], [], order[num_rows // 3 :]]


def embeddings(rows: np.ndarray) -> dict[str, pa.Array]:
  """Return columns of embeddings [N, E], for the step of `EMBED`."""
  flat = pa.array(rows.astype(np.float16).ravel())
  column = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
  return {"x_img": column, "x_txt": column}


# The step before those that need embeddings, and their model.
EMBED = {"embed": model_scores.StoredEmbeddings("x", "cosine")}
MODEL = "columns:x"
