"""The folder of a curation: whose it is, and what is in the way in it."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Collection, Iterator
from typing import Any

from curation import pool as pool_lib
from curation.engine import stages as stages_lib
from input_pipeline.sources import record
from runtime import failures, folder_lock, whole_files

STAGES = "stages"
_POOL = "pool.json"
# What is in the folder of a training run.
_OF_A_RUN = ("checkpoints", "metrics.jsonl")
# Files that a message names.
_NUM_NAMED = 3


@contextlib.contextmanager
def claim(folder: pathlib.Path) -> Iterator[None]:
  """Make the folder, and keep other runs out of it while this one lasts.

  Raises:
    RunError: it cannot be written, or another run is using it.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
      stack.enter_context(folder_lock.hold(folder, waits=False))
      held = stack.pop_all()
  except BlockingIOError as error:
    raise failures.RunError(
      f"--workdir={folder} is in use by another run; wait for it, or give "
      "another folder"
    ) from error
  except OSError as error:
    raise failures.RunError(
      f"--workdir={folder} cannot be written ({error.strerror}); give a folder "
      "that you may write to"
    ) from error
  with held:
    yield


def begin(
  folder: pathlib.Path, config: pool_lib.PoolConfig, pool: pool_lib.Pool
) -> str:
  """Return a digest of the pool; make the folder, claimed, this pool's.

  Raises:
    RunError: it is that of a training run or of another pool.
  """
  found = [name for name in _OF_A_RUN if (folder / name).exists()]
  if found:
    raise failures.RunError(
      f"--workdir={folder} is that of a training run (it has {found[0]}); give "
      "another folder"
    )
  shards = sorted((s.name, s.path, s.version) for s in pool.shards)
  section = json.loads(json.dumps(dataclasses.asdict(config)))
  if (folder / STAGES).exists():
    _check_pool(folder, section, shards)
  _drop_leftovers(folder)
  text = json.dumps({"pool": section, "shards": shards})
  whole_files.write(folder / _POOL, text.encode())
  # Not the paths: a folder of files may be mounted elsewhere tomorrow.
  return record.digest(tuple((name, version) for name, _, version in shards))


def other_stages(
  folder: pathlib.Path, stages: Collection[stages_lib.Stage]
) -> tuple[list[pathlib.Path], int]:
  """Return folders of stages with other parameters, and their bytes."""
  own = {stage.folder for stage in stages}
  others = sorted(p for p in (folder / STAGES).iterdir() if p.name not in own)
  num_bytes = sum(
    file.stat().st_size
    for other in others
    for file in other.rglob("*")
    if file.is_file()
  )
  return others, num_bytes


def _check_pool(
  folder: pathlib.Path, section: dict[str, Any], shards: list[tuple]
) -> None:
  try:
    was = json.loads((folder / _POOL).read_text())
    fields, before = was["pool"], {tuple(shard) for shard in was["shards"]}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise failures.RunError(
      f"--workdir={folder} has {STAGES} but no {_POOL} that can be read: "
      f"{error!r}; give another folder"
    ) from error
  changed = [
    f"pool.{name}: {fields.get(name)!r} in the folder, {value!r} now"
    for name, value in section.items()
    if fields.get(name) != value
  ]
  # Not the paths of files that are the same.
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
    lines = "".join(f"\n  {line}" for line in changed)
    raise failures.RunError(
      f"--workdir={folder} holds the curation of another pool; bring that pool "
      f"back, or give another folder:{lines}"
    )


def _drop_leftovers(folder: pathlib.Path) -> None:
  """Delete what a kill left half written; nobody else is writing."""
  for leftover in (
    *folder.glob(".*.tmp-*"),
    *folder.glob("signals/.*.tmp-*"),
    *folder.glob(f"{STAGES}/*/*/.*.tmp-*"),
    *folder.glob(f"{STAGES}/*/*/*/.*.tmp-*"),
  ):
    if leftover.is_dir():
      shutil.rmtree(leftover, ignore_errors=True)
    else:
      leftover.unlink(missing_ok=True)
