"""signals/SHARD.parquet: drop and signals of each pair of a shard.

uid, row     identify the pair
caption      number of its caption, if the pool has it
dropped_by   name of the step that dropped it, "read" for an unreadable pair,
             null for a kept one
fault        "KIND: MESSAGE" where it was dropped because of a fault
...          all signals; null for steps after the drop, and without a value
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation import pool as pool_lib
from curation.engine import shard_file, shard_pass
from input_pipeline.storage import uids as uids_lib
from runtime.storage import whole_files

_KEY = b"diptych.key"


def folder(workdir: pathlib.Path) -> pathlib.Path:
  """Return the folder of the files."""
  return workdir / "signals"


def path_of(workdir: pathlib.Path, shard: pool_lib.Shard) -> pathlib.Path:
  """Return a shard's file."""
  return folder(workdir) / f"{shard.name}.parquet"


def run_path(work: shard_pass.Work, shard: pool_lib.Shard) -> pathlib.Path:
  """Return the file of a shard's kept UIDs, for selection.merged."""
  return work.folder / "kept" / shard.name


def types(
  work: shard_pass.Work, shards: Sequence[pool_lib.Shard]
) -> dict[str, pa.DataType]:
  """Return the type of each signal; null for one that no pair has."""
  kinds = {name: pa.null() for name in work.signals}
  for shard in shards:
    missing = {name for name, kind in kinds.items() if pa.types.is_null(kind)}
    for number in {work.signals[name] for name in missing}:
      path = work.shard_path(work.stages[number], shard)
      for field in pq.read_schema(path):
        if field.name in missing:
          kinds[field.name] = field.type
    if not missing:
      break
  return kinds


def finish(
  work: shard_pass.Work, kinds: Mapping[str, pa.DataType], shard: pool_lib.Shard
) -> int:
  """Write a shard's file and the run of its kept UIDs; return their number.

  Existing files with the same key are not written again.

  Args:
    work: work of the last stage.
    kinds: type of each signal.
    shard: shard of the pool.
  """
  path, run = path_of(work.workdir, shard), run_path(work, shard)
  key = work.stage.result_key.encode()
  kept = shard_file.alive(work.shard_path(work.stage, shard), ["uid"])
  if not run.exists():
    run.parent.mkdir(parents=True, exist_ok=True)
    _write(run, uids_lib.unique(pool_lib.uids(kept)).tobytes())
  if path.exists() and (pq.read_schema(path).metadata or {}).get(_KEY) == key:
    return len(kept)
  table = _table(work, kinds, shard)
  shard_file.write_table(work.copy, path, table, {_KEY: key})
  return len(kept)


def _write(path: pathlib.Path, data: bytes) -> None:
  """Write a file without fsync, since it is cheap to make again."""
  with whole_files.new_file(path) as temporary:
    temporary.write_bytes(data)


def _table(
  work: shard_pass.Work, kinds: Mapping[str, pa.DataType], shard: pool_lib.Shard
) -> pa.Table:
  """Return the drops and signals of a shard's pairs, from all stages."""
  names = [shard_file.READ]
  whole = pa.table({})
  codes = np.zeros(0, np.int32)
  faults: pa.Array | pa.ChunkedArray = pa.nulls(0, pa.string())
  columns = {}
  for stage_ in work.stages:
    table = pq.read_table(work.shard_path(stage_, shard))
    if not stage_.number:
      whole = table
      codes = np.full(len(table), -1, np.int32)
      faults = pa.nulls(len(table), pa.string())
    # Index of each pair in the stage's file; null for those dropped before.
    rows = np.searchsorted(whole["row"].to_numpy(), table["row"].to_numpy())
    index = np.zeros(len(whole), np.int64)
    index[rows] = np.arange(len(table))
    is_absent = np.ones(len(whole), bool)
    is_absent[rows] = False
    indices = pa.array(index, mask=is_absent)
    steps = table["step"].to_numpy()
    is_dropped = steps >= 0
    codes[rows[is_dropped]] = steps[is_dropped] + len(names)
    codes[rows[steps == shard_file.UNREADABLE]] = 0
    names += stage_.steps
    if "fault" in table.column_names:
      own_faults = table["fault"].take(indices)
      faults = pc.call_function("coalesce", [faults, own_faults])
    for name in table.column_names:
      if name not in shard_file.OWN:
        columns[name] = table[name].take(indices)
  own = {"uid": whole["uid"], "row": whole["row"]}
  if "caption" in whole.column_names:
    own["caption"] = whole["caption"]
  dropped = pa.DictionaryArray.from_arrays(
    pa.array(codes, mask=codes < 0), pa.array(names)
  ).cast(pa.string())
  own |= {"dropped_by": dropped, "fault": faults}
  for name, kind in kinds.items():
    made = columns.get(name, pa.nulls(len(whole), kind))
    own[name] = made.cast(kind) if made.type != kind else made
  return pa.table(own)
