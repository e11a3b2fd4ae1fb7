"""A curation's folder: refused if it belongs to another pool or to a run."""

import dataclasses
import json
import pathlib
from collections.abc import Collection
from typing import Any

from curation import pool as pool_lib
from curation.engine import stages as stages_lib
from input_pipeline.sources import record
from runtime import failures
from runtime.storage import mirror, unfinished, whole_files

STAGES = "stages"
_POOL = "pool.json"
# Names in the folder of a training run.
_OF_A_RUN = ("checkpoints", "metrics.jsonl")
# Number of files that a message names.
_NUM_NAMED = 3


def begin(
  folder: pathlib.Path, config: pool_lib.PoolConfig, pool: pool_lib.Pool
) -> str:
  """Return a digest of the pool; make the folder, claimed, this pool's.

  Raises:
    RunError: it belongs to a training run or to another pool.
  """
  names = [name for name in _OF_A_RUN if (folder / name).exists()]
  if names:
    raise failures.RunError(
      f"--workdir={folder} is that of a training run (it has {names[0]}); give "
      "another folder"
    )
  shards = sorted((s.name, s.path, s.version) for s in pool.shards)
  section = json.loads(json.dumps(dataclasses.asdict(config)))
  if (folder / STAGES).exists():
    # Folders of older versions lack fields that have a default.
    added = {
      field.name: json.loads(json.dumps(field.default))
      for field in dataclasses.fields(config)
      if field.default is not dataclasses.MISSING
    }
    _check_pool(folder, section, shards, added)
  unfinished.delete_leftovers(
    folder, "signals", f"{STAGES}/*/*", f"{STAGES}/*/*/*"
  )
  text = json.dumps({"pool": section, "shards": shards})
  whole_files.write(folder / _POOL, text.encode())
  # Paths are left out: the pool's folder may be mounted elsewhere tomorrow.
  return record.digest(tuple((name, version) for name, _, version in shards))


def other_stages(
  copy: mirror.Mirror, stages: Collection[stages_lib.Stage]
) -> tuple[list[str], int]:
  """Return names of stages with other parameters, and their bytes."""
  own = {stage.folder for stage in stages}
  others = {
    name: size
    for name, size in copy.sizes(copy.local / STAGES).items()
    if name.partition("/")[0] not in own
  }
  names = {name.partition("/")[0] for name in others}
  return sorted(names), sum(others.values())


def _check_pool(
  folder: pathlib.Path,
  section: dict[str, Any],
  shards: list[tuple],
  added: dict[str, Any],
) -> None:
  try:
    was = json.loads((folder / _POOL).read_text())
    fields = added | was["pool"]
    before = {tuple(shard) for shard in was["shards"]}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise failures.RunError(
      f"--workdir={folder} has {STAGES} but no {_POOL} that can be read: "
      f"{error!r}; give another folder"
    ) from error
  changed = unfinished.changes(fields, section, "pool.")
  # Paths may differ where the files are the same.
  old = {(name, version) for name, _, version in before}
  new = {(name, version) for name, _, version in shards}
  if not changed and old != new:
    paths = sorted(
      {path for name, path, version in shards if (name, version) not in old}
      | {path for name, path, version in before if (name, version) not in new}
    )
    more = len(paths) - _NUM_NAMED
    changed = [f"{path} is new, changed or gone" for path in paths[:_NUM_NAMED]]
    changed += [f"and {more} more files"] if more > 0 else []
  if changed:
    raise unfinished.other_key(
      f"--workdir={folder}",
      "the curation of another pool; bring that pool back",
      changed,
    )
