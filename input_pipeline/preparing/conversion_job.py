"""Conversion of one source, and the check that its folder may be written."""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from input_pipeline.sources import prepared, source_config
from input_pipeline.sources import record as record_lib
from runtime.storage import unfinished

UNFINISHED = ".unfinished"
PLAN = "plan.json"

# Fields of a source that alter its records.
_ALTERING = (
  *("format", "image", "caption", "language", "language_field"),
  *("uid", "subset", "keep"),
)
_BEGUN = "that this task has begun"


@dataclasses.dataclass(frozen=True)
class Job:
  """One source to convert.

  Attributes:
    name: in data.sources.
    source: section of the config.
    folder: folder to write.
    splits: name in the folder -> records.
    trained: name of the split that the config trains on.
    shard_examples: number of examples of a shard.
    image_check: key of shard_writer.IMAGE_CHECKS.
    max_caption_chars: longest caption; an example without one as short is left
      out.
  """

  name: str
  source: source_config.SourceConfig
  folder: pathlib.Path
  splits: Mapping[str, record_lib.Records]
  trained: str
  shard_examples: int
  image_check: str
  max_caption_chars: int

  @property
  def plan(self) -> dict[str, Any]:
    """Return the key of the job, ready for JSON: another job has another."""
    fields = dataclasses.asdict(self.source)
    plan: dict[str, Any] = {name: fields[name] for name in _ALTERING}
    plan["encoding"] = self.source.encoding
    plan["max_caption_chars"] = self.max_caption_chars
    plan["shard_examples"] = self.shard_examples
    plan["image_check"] = self.image_check
    plan["examples"] = {name: len(x) for name, x in self.splits.items()}
    plan["content"] = {name: x.fingerprint() for name, x in self.splits.items()}
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


def check_free(out: pathlib.Path, sources: Collection[str]) -> None:
  """Raise ValueError for a folder that this task has not begun.

  Called before the sources are opened, which may take an hour; `begun` says
  more afterwards.
  """
  there = {*unfinished.names(out)}
  if len(sources) > 1:
    others, begun_by = there - {*sources}, f"with the sources {sorted(sources)}"
  else:
    is_begun = there & {prepared.MANIFEST, UNFINISHED}
    others, begun_by = set() if is_begun else there, _BEGUN
  if others:
    raise unfinished.taken(out, sorted(others), begun_by)


def begun(job: Job) -> str:
  """Return "new", "unfinished" or "complete".

  Raises:
    ValueError: the folder has other files.
    RunError: it was begun with another job.
  """
  folder, there = job.folder, unfinished.names(job.folder)
  if prepared.MANIFEST in there:
    try:
      manifest = prepared.read_manifest(folder, check_digests=False)
    except prepared.BrokenError as error:
      raise ValueError(f"--out: {error}; give another folder") from error
    _check_plan(job, manifest.made_from)
    return "complete"
  if not there:
    return "new"
  try:
    plan = json.loads((folder / UNFINISHED / PLAN).read_text())
  except (OSError, ValueError) as error:
    # A process killed before it wrote the plan leaves a lock, or half a plan.
    if there == [UNFINISHED] and all(
      name.startswith(".") for name in unfinished.names(folder / UNFINISHED)
    ):
      return "new"
    raise unfinished.taken(folder, there, _BEGUN) from error
  _check_plan(job, plan)
  return "unfinished"


def _check_plan(job: Job, plan: Mapping[str, Any]) -> None:
  # Older plans name no check of images (they were written unseen), no encoding
  # and no longest caption.
  added = {
    "image_check": "none",
    "encoding": "",
    "max_caption_chars": job.max_caption_chars,
  }
  plan = {**added, **plan}
  if changed := unfinished.changes(plan, job.plan):
    raise unfinished.other_key(
      f"--out={job.folder}",
      f"another data set than data.sources.{job.name}; undo these changes",
      changed,
    )
