"""Check that each UID of a pool is that of one example.

A selection has UIDs alone: it could not tell apart examples that share one, a
kept and a dropped one, say. The check runs after the first stage, on all pairs
that could be read, and before any result depends on UIDs.

UIDs are sorted on disk as hashes of 64 bits, 8 bytes an example until they are
compared range by range in worker processes (on_disk/runs.py). Equal hashes are
looked up by the whole UID.
"""

import functools
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from curation import operators
from curation import pool as pool_lib
from curation.engine import shard_file, shard_pass, stage_pass
from curation.keys import hashing
from curation.on_disk import runs
from curation.pools import section
from curation.pools import table as table_pool
from input_pipeline.selecting import repeats
from input_pipeline.sources import record
from runtime import failures
from runtime.storage import whole_files

# Equal hashes that are looked up; more than that are no chance.
_NUM_LOOKED_UP = 1000
_SEED = 0

# UIDs, and index of each one's example in its shard.
_Uids = tuple[np.ndarray, np.ndarray]


def check(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  config: pool_lib.PoolConfig,
  tries: stage_pass.Tries,
) -> None:
  """Raise RunError if a UID is that of several examples.

  Shards that were checked before are not checked again.

  Args:
    work: work of the first stage, which is done.
    shards: shards that have not failed.
    config: section of the pool.
    tries: engine, and policy for its failures.
  """
  done = work.folder / "unique_uids.txt"
  digest = record.digest(sorted(shard.name for shard in shards)).encode()
  work.copy.fetch(done)
  if done.exists() and done.read_bytes() == digest:
    return
  work.fetch_stages()
  run = functools.partial(stage_pass.run_all, tries, work.stage, "unique UIDs")
  folder = work.folder / "uids"
  folder.mkdir(exist_ok=True)
  run(functools.partial(_sort, work, folder), shards)
  parts = sorted(folder / shard.name for shard in shards)
  buckets = runs.buckets(parts, _sorted, folder, run)
  equal = np.concatenate([np.zeros(0, "u8"), *run(_equal, buckets)])
  shutil.rmtree(folder)
  if len(equal):
    _look_up(work, shards, config, equal, run)
  work.copy.write(done, digest)


def _sort(
  work: shard_pass.Work, folder: pathlib.Path, shard: pool_lib.Shard
) -> None:
  """Write the run of a shard's hashes."""
  uids, _ = _read(work, shard)
  sorter = runs.Sorter(_sorted)
  sorter.add(hashing.h64(uids, _SEED))
  with whole_files.new_file(folder / shard.name) as temporary:
    sorter.save(temporary)


def _sorted(columns: runs.Columns) -> runs.Columns:
  return (np.sort(columns[0]),)


def _equal(bucket: runs.Bucket) -> np.ndarray:
  """Return the hashes that occur several times in a range, each once."""
  found = [np.zeros(0, "u8")]
  for (hashes,) in runs.merged(bucket, _sorted):
    found.append(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
  return np.concatenate(found)


def _look_up(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  config: pool_lib.PoolConfig,
  equal: np.ndarray,
  run: operators.RunFn,
) -> None:
  """Raise RunError if a UID with one of the hashes occurs several times."""
  wanted = np.sort(equal)[:_NUM_LOOKED_UP]
  found = run(functools.partial(_with_hashes, work, wanted), shards)
  # UID -> (shard, index in the shard) of its examples.
  examples: dict[bytes, list[tuple[pool_lib.Shard, int]]] = {}
  for shard, (uids, index) in zip(shards, found, strict=True):
    for uid, number in zip(uids.tolist(), index.tolist(), strict=True):
      examples.setdefault(uid, []).append((shard, number))
  repeated = sorted(uid for uid in examples if len(examples[uid]) > 1)
  if not repeated:
    return
  uid = repeated[0]
  places = [
    _place(work, shards, config, example) for example in examples[uid][:2]
  ]
  raise failures.RunError(
    repeats.message(
      section.source(config),
      f"{section.FIELD}.path",
      places,
      num=len(repeated) if len(wanted) == len(equal) else len(equal),
      uid=uid.ljust(16, b"\0").hex(),
    )
  )


def _place(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  config: pool_lib.PoolConfig,
  example: tuple[pool_lib.Shard, int],
) -> tuple[str, str]:
  """Return the path of an example's file, and its name in that file."""
  shard, number = example
  if config.format == "folder" and isinstance(work.pool, table_pool.Pool):
    # Not the table that was made of the folder.
    return work.pool.image_of(shard, number), f"example {number}"
  name = f"example {number}"
  if sum(other.path == shard.path for other in shards) > 1:
    name += f" of shard {shard.name}"
  return shard.path, name


def _with_hashes(
  work: shard_pass.Work, wanted: np.ndarray, shard: pool_lib.Shard
) -> _Uids:
  uids, index = _read(work, shard)
  chosen = np.isin(hashing.h64(uids, _SEED), wanted)
  return uids[chosen], index[chosen]


def _read(work: shard_pass.Work, shard: pool_lib.Shard) -> _Uids:
  """Return each example of a shard that could be read, as S16 [N]."""
  path = work.shard_path(work.stage, shard)
  table = pq.read_table(path, columns=["uid", "row", "step"])
  is_read = table["step"].to_numpy() != shard_file.UNREADABLE
  index = (table["row"].to_numpy() >> pool_lib.CAPTION_BITS)[is_read]
  # Captions of one example are neighbours.
  is_first = np.diff(index, prepend=-1) != 0
  return pool_lib.sortable_uids(table)[is_read][is_first], index[is_first]
