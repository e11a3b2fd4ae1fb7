"""`--task=prepare`: the sources of a config as prepared folders.

One source becomes the folder itself, several a folder each, named after them.
A folder is complete when it has its manifest.json; before, complete shards are
in UNFINISHED below it, and the next call goes on from there. Its bytes depend
on the source and the size of a shard alone.
"""

import io
import json
import pathlib
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from input_pipeline import pipeline, sources
from input_pipeline.preparing import conversion_job, shard_writer
from input_pipeline.selecting import holdout, repeats
from input_pipeline.sources import (
  array_record,
  image_ids,
  prepared,
  source_config,
)
from input_pipeline.storage import uids as uids_lib
from runtime import checks, stopping
from runtime.storage import (
  bucket_path,
  jsonl,
  remote,
  unfinished,
  whole_files,
)

ERRORS = "data_errors.jsonl"

# Name of the split of a format that has none.
_ONLY_SPLIT = "train"
# Number of faults that a message shows.
_NUM_SHOWN = 3


def run(
  config: pipeline.DataConfig,
  out: str,
  *,
  num_workers: int,
  shard_examples: int,
  decode: bool,
  as_json: bool,
) -> int:
  """Convert the sources, print what was written and the flags to use it.

  Images are checked by their headers, with `decode` by decoding them.
  """
  if not out:
    raise ValueError("--out is missing: --out=DIR, the folder to write")
  checks.at_least("--num_workers", num_workers, 0)
  checks.at_least("--shard_examples", shard_examples, 1)
  folder = bucket_path.make(out)
  conversion_job.check_free(folder, config.sources)
  jobs = make_jobs(
    config,
    folder,
    shard_examples=shard_examples,
    image_check=(
      f"{'video_' * config.video.is_on}{'decode' if decode else 'header'}"
    ),
  )
  for job in jobs:
    conversion_job.begun(job)
  with stopping.kept():
    written = {
      job.name: convert(
        job, num_workers=num_workers, max_bad_fraction=config.max_bad_fraction
      )
      for job in jobs
    }
  if as_json:
    print(json.dumps(written))
  else:
    for job in jobs:
      _print_facts(written[job.name])
  return 0


def make_jobs(
  config: pipeline.DataConfig,
  out: pathlib.Path,
  *,
  shard_examples: int,
  image_check: str,
) -> list[conversion_job.Job]:
  """Open the sources; raises as `pipeline.open_sources` does."""
  jobs = []
  for name, source in config.sources.items():
    if source.grammar:
      raise ValueError(
        f"data.sources.{name}.grammar draws captions of fields while training; "
        "--task=prepare stores captions alone: train on the source itself"
      )
    if source.region_fields:
      raise ValueError(
        f"data.sources.{name}.region_fields has boxes; --task=prepare stores"
        " captions alone: train on the source itself"
      )
  for name, records in pipeline.open_sources(config).items():
    source = config.section(name)
    module = sources.FORMATS[source.format]
    context = config.context(name)
    others = module.splits(source, context)
    trained = re.sub(r"[^A-Za-z0-9_]+", "_", source.split).strip("_")
    trained = source.split if source.split in others else trained
    splits = {trained or _ONLY_SPLIT: records}
    # A part of a split, which TFDS has, is converted without other splits.
    if source.split in others:
      splits = {
        split: (
          records
          if split == source.split
          else module.open_split(source, split, context)
        )
        for split in others
      }
    folder = out if len(config.sources) == 1 else out / name
    trained = trained or _ONLY_SPLIT
    jobs.append(
      conversion_job.Job(
        *(name, source, folder, splits, trained, shard_examples),
        image_check=image_check,
        max_caption_chars=config.max_caption_chars,
      )
    )
  return jobs


def convert(
  job: conversion_job.Job, *, num_workers: int, max_bad_fraction: float
) -> dict[str, Any]:
  """Write the missing shards of a folder; return facts about it.

  Raises:
    ValueError: more than that share of the examples cannot be used.
    RunError: the folder cannot be written, or another process is writing it.
    OSError: the disk is full.
  """
  if conversion_job.begun(job) == "complete":
    whole_files.delete_folder(job.folder / conversion_job.UNFINISHED)
    return _facts_of(job)
  work = job.folder / conversion_job.UNFINISHED
  with unfinished.resumed(work, f"--out={job.folder}"):
    unfinished.delete_leftovers(job.folder)
    plan = json.dumps(job.plan, indent=2).encode()
    whole_files.write(work / conversion_job.PLAN, plan)
    _write_shards(job, num_workers, max_bad_fraction)
    _finish(job)
  return _facts_of(job)


def _write_shards(
  job: conversion_job.Job, num_workers: int, max_bad_fraction: float
) -> None:
  work = job.folder / conversion_job.UNFINISHED
  tasks, complete = [], []
  # A finished job moves its shards, and may be killed between two of them.
  there = [whole_files.sizes(folder) for folder in (job.folder, work)]
  for number, (split, shards) in enumerate(job.shards.items()):
    uids = None
    for name, start, stop in shards:
      facts = shard_writer.read_facts(work / name)
      if facts is not None and any(
        sizes.get(name) == facts.num_bytes for sizes in there
      ):
        complete.append((number, stop - start, facts))
        continue
      if job.source.uid and uids is None:
        uids = job.splits[split].uids()
      tasks.append(
        shard_writer.Task(
          split=number,
          path=work / name,
          start=start,
          stop=stop,
          uids=None if uids is None else uids[start:stop],
          image_ids=_image_ids(job.source),
          image_check=job.image_check,
          max_caption_chars=job.max_caption_chars,
        )
      )
  total = sum(map(len, job.splits.values()))
  try:
    shard_writer.write_all(
      tuple(job.splits.values()),
      tasks,
      num_workers=num_workers,
      num_done=sum(examples for _, examples, _ in complete),
      num_bad=sum(len(facts.faults) for _, _, facts in complete),
      max_bad=int(max_bad_fraction * total),
      label=f"Preparing {job.name}",
    )
  except shard_writer.TooManyFaultsError as error:
    # A set: a worker may have completed a shard after its faults were counted.
    left_out = {*error.faults}
    for number, shards in enumerate(job.shards.values()):
      for name, _, _ in shards:
        facts = shard_writer.read_facts(work / name)
        if facts is not None:
          left_out |= {(number, *fault) for fault in facts.faults}
    _write_errors(job, left_out)
    message = _too_many(job, left_out, total, max_bad_fraction)
    raise ValueError(message) from error


def _too_many(
  job: conversion_job.Job,
  left_out: Collection[tuple[int, int, str, str]],
  total: int,
  max_bad_fraction: float,
) -> str:
  kinds = shard_writer.count_kinds([kind for _, _, kind, _ in left_out])
  shown = "; ".join(text for *_, text in sorted(left_out)[:_NUM_SHOWN])
  return (
    f"data.sources.{job.name}: {len(left_out)} of {total} examples cannot be "
    f"used so far ({_listed(kinds)}), more than data.max_bad_fraction="
    f"{max_bad_fraction}; all are in {job.folder / ERRORS}, the first: {shown}"
  )


def _finish(job: conversion_job.Job) -> None:
  """Move complete shards into the folder; write UIDs, errors and manifest."""
  work = job.folder / conversion_job.UNFINISHED
  shards: dict[str, list[tuple[str, int]]] = {}
  files, left_out, languages = {}, [], set()
  for number, (split, names) in enumerate(job.shards.items()):
    shards[split] = []
    for name, _, _ in names:
      facts = shard_writer.read_facts(work / name)
      assert facts is not None, name
      shards[split].append((name, facts.num_records))
      files[name] = (facts.num_bytes, facts.digest)
      left_out += [(number, *fault) for fault in facts.faults]
      languages.update(facts.languages)
      if (work / name).exists():
        whole_files.move(work / name, job.folder / name)
    paths = [work / name for name, _, _ in names]
    files |= _join_uids(job, split, paths)
    files |= _join_image_ids(job, split, paths)
  _write_errors(job, left_out)
  manifest = prepared.Manifest(
    schema=prepared.SCHEMA,
    splits={
      split: sum(count for _, count in names) for split, names in shards.items()
    },
    languages=tuple(sorted(languages)),
    versions={},
    files=files,
    shards=shards,
    made_from=job.plan,
  )
  prepared.write_manifest(job.folder, manifest)


def _join_uids(
  job: conversion_job.Job, split: str, shards: Sequence[pathlib.Path]
) -> dict[str, tuple[int, str]]:
  """Write one .npy file of the UIDs of all shards; return its facts.

  One shard is in memory. Warns about UIDs that are not unique.
  """
  parts = [shard_writer.uids_path(shard) for shard in shards]
  path = job.folder / f"{split}.uids.npy"
  with whole_files.new_file(path) as temporary:
    with open(temporary, "wb") as file:
      file.write(uids_lib.npy_header(0))
      for part in parts:
        file.write(part.read_bytes())
      num_bytes = file.tell() - len(uids_lib.npy_header(0))
      file.seek(0)
      file.write(uids_lib.npy_header(num_bytes // uids_lib.UID.itemsize))
    uids = np.load(temporary, mmap_mode="r", allow_pickle=False)
    if num := repeats.count(uids):
      logging.warning(
        "%d examples of %s have the UID of another one, so that no selection "
        'can be made of them. data.sources.%s.uid="file+key" tells apart what '
        "files number alike; docs/data.md has more",
        *(num, path, job.name),
      )
    return {path.name: prepared.facts_of(temporary)}


def _image_ids(source: source_config.SourceConfig) -> str:
  """Return Task.image_ids of a source.

  Where names are those of the bytes, evaluate.holdout finds them as fast.
  """
  if source.format == "array_record":
    return "source"
  may_have_addresses = source.format in ("table", "parquet", "folder")
  return "record" if may_have_addresses or holdout.links(source) else ""


def _join_image_ids(
  job: conversion_job.Job, split: str, shards: Sequence[pathlib.Path]
) -> dict[str, tuple[int, str]]:
  """Write one .npy file of the names of all shards' images; return its facts.

  Not for shards that an earlier version wrote, which are without them.
  """
  parts = [shard_writer.image_ids_path(shard) for shard in shards]
  if not _image_ids(job.source) or not all(part.exists() for part in parts):
    return {}
  data = b"".join(part.read_bytes() for part in parts)
  ids = np.frombuffer(data, image_ids.DTYPE)
  if holdout.links(job.source):
    uids_file = io.BytesIO((job.folder / f"{split}.uids.npy").read_bytes())
    uids = np.load(uids_file, allow_pickle=False)
    ids = image_ids.linked(ids, uids)
  path = job.folder / f"{split}.image_ids.npy"
  with whole_files.new_file(path) as temporary:
    with open(temporary, "wb") as file:
      np.save(file, ids, allow_pickle=False)
    return {path.name: prepared.facts_of(temporary)}


def _write_errors(
  job: conversion_job.Job, left_out: Collection[tuple[int, int, str, str]]
) -> None:
  splits = list(job.splits)
  lines = [
    json.dumps(
      {
        "source": job.name,
        "split": splits[number],
        "index": index,
        "kind": kind,
        "message": message,
      },
      ensure_ascii=False,
    )
    for number, index, kind, message in sorted(left_out)
  ]
  text = "".join(line + "\n" for line in lines)
  whole_files.write(job.folder / ERRORS, text.encode())


def _facts_of(job: conversion_job.Job) -> dict[str, Any]:
  manifest = prepared.read_manifest(job.folder, check_digests=False)
  return {
    "source": job.name,
    "folder": str(job.folder),
    "splits": manifest.splits,
    "languages": list(manifest.languages),
    "num_files": sum(map(len, manifest.shards.values())),
    "num_bytes": sum(num_bytes for num_bytes, _ in manifest.files.values()),
    "left_out": shard_writer.count_kinds(
      [line["kind"] for line in jsonl.read(job.folder / ERRORS)]
    ),
    "flags": _flags(job),
  }


def _flags(job: conversion_job.Job) -> list[str]:
  """Return the flags that make the config read the folder."""
  changed = {
    "format": "array_record",
    "path": str(job.folder),
    "split": job.trained,
  }
  # Fields that the records have absorbed; array_record refuses their values.
  for field in ("image", "caption", "language_field", "uid", "subset"):
    value = getattr(job.source, field)
    if value:
      changed[field] = "()" if isinstance(value, tuple) else ""
  return [
    f"--config.data.sources.{job.name}.{field}={shlex.quote(value)}"
    for field, value in changed.items()
  ]


def _print_facts(facts: Mapping[str, Any]) -> None:
  counts = ", ".join(f"{name} {num:,}" for name, num in facts["splits"].items())
  print(
    f"{facts['folder']}: {counts} examples in {facts['num_files']} files of "
    f"{facts['num_bytes'] / 1e6:,.1f} MB"
  )
  if facts["left_out"]:
    print(f"left out: {_listed(facts['left_out'])} (see {ERRORS} there)")
  if remote.scheme(facts["folder"]) not in array_record.SCHEMES:
    print("ArrayRecord is read from disk and gs:// only: copy the files there")
  print("to use it:", *facts["flags"], sep="\n  ")


def _listed(kinds: Mapping[str, int]) -> str:
  return ", ".join(f"{kind} {num:,}" for kind, num in kinds.items())
