"""Parquet files of pairs: img2dataset's, DataComp's metadata, or others."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool, recipe
from input_pipeline.sources import files
from input_pipeline.sources import record as record_lib


def open_pool(config: recipe.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the rows of all files; reads their footers."""
  del cache_dir
  found = files.find(config.path, "pool.path")
  shards, columns = [], None
  for file in found:
    meta = pq.read_metadata(file.path)
    names = set(meta.schema.to_arrow_schema().names)
    columns = names if columns is None else columns & names
    name = record_lib.digest((file.path, 0, meta.num_row_groups))
    version = f"{file.size}/{file.version}"
    shards.append(pool.Shard(name, file.path, 0, meta.num_row_groups, version))
  return Pool(tuple(shards), frozenset(columns or ()))


@dataclasses.dataclass(frozen=True)
class Pool:
  """Rows of Parquet files; see pool.Pool."""

  shards: tuple[pool.Shard, ...]
  columns: frozenset[str]

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard; see pool.Pool."""
    wanted = sorted({"uid", *columns} - {"row"})
    file = pq.ParquetFile(shard.path)
    start = 0
    for batch in file.iter_batches(batch_size=max_rows, columns=wanted):
      table = pa.Table.from_batches([batch])
      numbers = np.arange(start, start + len(table))
      start += len(table)
      table = table.append_column("row", pa.array(numbers))
      if rows is not None:
        table = table.filter(pa.array(np.isin(numbers, rows)))
      if len(table):
        uids = [bytes.fromhex(uid) for uid in table["uid"].to_pylist()]
        place = table.schema.get_field_index("uid")
        uid_column = pa.array(uids, pool.UID_TYPE)
        yield table.set_column(place, "uid", uid_column)
