"""What one source becomes, and whether a folder may take it."""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from input_pipeline.sources import prepared, source_config
from input_pipeline.sources import record as record_lib

UNFINISHED = ".unfinished"
PLAN = "plan.json"

# Fields of a source that alter what its records are.
_ALTERING = (
  *("format", "image", "caption", "language", "language_field"),
  *("uid", "subset", "keep"),
)
# Names that a message shows.
_NUM_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Job:
  """One source to convert.

  Attributes:
    name: in data.sources.
    source: its section.
    folder: that is written.
    splits: name in the folder -> records.
    trained: the split of these that the config trains on.
    shard_examples: examples of a shard.
  """

  name: str
  source: source_config.SourceConfig
  folder: pathlib.Path
  splits: Mapping[str, record_lib.Records]
  trained: str
  shard_examples: int

  @property
  def plan(self) -> dict[str, Any]:
    """Return what tells this job from another, ready for JSON."""
    fields = dataclasses.asdict(self.source)
    plan: dict[str, Any] = {name: fields[name] for name in _ALTERING}
    plan["shard_examples"] = self.shard_examples
    plan["examples"] = {name: len(some) for name, some in self.splits.items()}
    plan["content"] = {
      name: some.fingerprint() for name, some in self.splits.items()
    }
    return json.loads(json.dumps(plan))

  @property
  def shards(self) -> dict[str, list[tuple[str, int, int]]]:
    """Return split -> (file, first example, behind the last) of its shards."""
    shards = {}
    for split, records in self.splits.items():
      starts = range(0, len(records), self.shard_examples)
      shards[split] = [
        (
          f"{split}-{i:05d}-of-{len(starts):05d}.array_record",
          start,
          min(start + self.shard_examples, len(records)),
        )
        for i, start in enumerate(starts)
      ]
    return shards


def check_free(out: pathlib.Path, names: Collection[str]) -> None:
  """Raise ValueError for a folder that is of another kind.

  Before the sources are opened, which may take an hour.
  """
  found = _names(out)
  own = {prepared.MANIFEST, UNFINISHED} if len(names) == 1 else {*names}
  if found and not own & set(found):
    raise ValueError(
      f"--out={out} must be a new or empty folder, or one that this task has "
      f"begun; it has {', '.join(found[:_NUM_SHOWN])}"
    )


def check_out(out: pathlib.Path, jobs: Sequence[Job]) -> None:
  """Raise ValueError where a folder has anything that is not the job's own."""
  names = {job.name for job in jobs if job.folder != out}
  if names and out.exists():
    others = sorted(set(_names(out)) - names)
    if others:
      raise ValueError(
        f"--out={out} must be a new or empty folder, or one with the sources "
        f"{sorted(names)}; it has {', '.join(others[:_NUM_SHOWN])}"
      )
  for job in jobs:
    begun(job)


def begun(job: Job) -> str:
  """Return "new", "unfinished" or "complete"; ValueError for other folders."""
  folder, found = job.folder, _names(job.folder)
  if prepared.MANIFEST in found:
    try:
      manifest = prepared.read_manifest(folder, check_digests=False)
    except prepared.BrokenError as error:
      raise ValueError(f"--out: {error}; give another folder") from error
    _check_plan(job, manifest.made_from)
    return "complete"
  if not found:
    return "new"
  try:
    plan = json.loads((folder / UNFINISHED / PLAN).read_text())
  except (OSError, ValueError) as error:
    # Killed before the plan was written: a lock, or half of the plan.
    if found == [UNFINISHED] and all(
      name.startswith(".") for name in _names(folder / UNFINISHED)
    ):
      return "new"
    raise ValueError(
      f"--out={folder} must be a new or empty folder, or one that this task "
      f"has begun; it has {', '.join(found[:_NUM_SHOWN])}"
    ) from error
  _check_plan(job, plan)
  return "unfinished"


def _check_plan(job: Job, plan: Mapping[str, Any]) -> None:
  for field, value in job.plan.items():
    if plan.get(field) != value:
      raise ValueError(
        f"--out={job.folder} holds another data set: its {field} is "
        f"{plan.get(field)!r}, that of data.sources.{job.name} is {value!r}; "
        "give another folder"
      )


def _names(folder: pathlib.Path) -> list[str]:
  """Return what is in a folder; ValueError where it is a file."""
  try:
    return sorted(path.name for path in folder.iterdir())
  except FileNotFoundError:
    return []
  except NotADirectoryError as error:
    raise ValueError(f"--out={folder} must be a folder, not a file") from error
