"""Folders of embeddings of pictures and texts.

images.npy, texts.npy            layout "flat": float32, in the order of the
                                 inputs; embed.json names the picture of a row
img_emb/img_emb_N.npy            layout "shards", that of clip-retrieval; see
                                 shards.py
embed.json                       the model, its inputs, and what was embedded;
                                 written last
left_out.jsonl                   pictures that cannot be used, and why
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from evaluators import row_batches
from inference import pictures
from inference.embeddings import jobs, part_files, shards
from runtime import checks, cluster, progress
from runtime.storage import (
  bucket_path,
  strict_json,
  unfinished,
  whole_files,
)

LEFT_OUT = "left_out.jsonl"
LAYOUTS = FLAT, SHARDS = ("flat", "shards")
DTYPES = ("float16", "float32")
_FACTS = "embed.json"
_JOINED = ("images.npy", "texts.npy", LEFT_OUT)
# Files left out that a message names.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Inputs to embed, and the folder of their embeddings.

  Attributes:
    images: pattern or folder as `pictures.find` takes it; "" for none.
    texts: file as `read_texts` takes it; "" for none.
    out: folder to write. It must not exist, be empty, or have been begun with
      the same inputs.
    recursive: whether folders below a folder of images count too.
    captions: where the captions of pictures are, to be embedded beside them,
      as `pictures.find` takes it; None for no captions.
    layout: of LAYOUTS.
    dtype: of DTYPES, of shards.
    shard_rows: pictures, or texts, of a shard.
    batch_size: most rows that are computed at once.
    cache_dir: folder of the indices of tars and tables.
  """

  images: str
  texts: str
  out: str | pathlib.Path
  recursive: bool = False
  captions: Sequence[str] | None = None
  layout: str = FLAT
  dtype: str = ""
  shard_rows: int = shards.SHARD_ROWS
  batch_size: int = row_batches.BATCH_SIZE
  cache_dir: str = "cache"

  def check(self) -> None:
    """Raise ValueError, naming the flag, for what cannot be written."""
    if not self.images and not self.texts:
      raise ValueError(
        "nothing to embed: give --images=GLOB, --texts=FILE, or both"
      )
    checks.at_least("--batch_size", self.batch_size, 1)
    checks.at_least("--shard_rows", self.shard_rows, 1)
    checks.one_of("--layout", self.layout, LAYOUTS)
    checks.one_of("--dtype", self.dtype, ("", *DTYPES))
    if not self.out:
      raise ValueError("--out is missing: --out=FOLDER")
    if self.captions is not None and not self.images:
      raise ValueError("--captions are those of pictures: give --images too")
    if self.layout == SHARDS:
      if self.images and self.texts:
        raise ValueError(
          f"--layout={SHARDS} has a text of each picture, row by row: give"
          " --captions in place of --texts, or embed the texts into a folder"
          " of their own"
        )
      return
    if self.captions is not None or self.dtype == "float16":
      raise ValueError(
        "--captions and --dtype=float16 are for --layout=shards; got"
        f" --layout={self.layout}"
      )
    if cluster.count() > 1:
      raise ValueError(
        "several processes write --layout=shards; got --layout=flat"
      )


@dataclasses.dataclass(frozen=True)
class Made:
  """Folder that was written.

  Attributes:
    facts: contents of embed.json.
    left_out: lines of left_out.jsonl.
  """

  folder: pathlib.Path
  facts: Mapping[str, Any]
  left_out: Sequence[Mapping[str, Any]]


def run(path: str, wanted: Wanted, *, as_json: bool = False) -> int:
  """Embed as `write` does, and print what was written.

  Args:
    path, wanted: as of `write`.
    as_json: print embed.json instead of a line.

  Raises:
    ValueError, OSError, RunError: as `write` does.
  """
  made = write(path, wanted)
  if cluster.is_first():
    print(_json(made.facts) if as_json else _summary(made, wanted))
  return 0


def write(path: str, wanted: Wanted) -> Made:
  """Embed with the model at `path`; write a folder, or go on with one.

  Every process of a run computes its own shards on its own devices.

  Args:
    path: run or published model, as `model.load` takes it.
    wanted: inputs and folder.

  Raises:
    ValueError, OSError: an argument is wrong, or no picture can be used; the
      message names its flag.
    RunError: the folder was begun with other inputs, or is in use.
  """
  wanted.check()
  folder = bucket_path.make(wanted.out)
  there = {*unfinished.names(folder)}
  # A kill while the files are joined leaves some of them beside the work.
  begun = {jobs.UNFINISHED, *_JOINED, *shards.FOLDERS, _FACTS}
  if jobs.UNFINISHED not in there:
    begun = set()
  if others := there - begun:
    raise unfinished.taken(folder, sorted(others), "that this task has begun")
  # Inputs are listed before a model of gigabytes is read.
  found = None
  if wanted.images:
    found = cluster.first_then_all(
      lambda: pictures.find(
        wanted.images,
        recursive=wanted.recursive,
        captions=wanted.captions,
        cache_dir=wanted.cache_dir,
      )
    )
  lines = read_texts(pathlib.Path(wanted.texts)) if wanted.texts else []
  job = jobs.make_job(
    path,
    images=wanted.images,
    found=found,
    texts=wanted.texts,
    lines=lines,
    captions=wanted.captions,
    batch_size=wanted.batch_size,
    mesh=shards.own_mesh(),
  )
  work = folder / jobs.UNFINISHED
  if wanted.layout == SHARDS:
    with jobs.deleted_if_wrong(folder):
      facts, left_out = shards.write(
        folder, job, wanted.shard_rows, wanted.dtype or DTYPES[0], _finish
      )
    return Made(folder, facts, left_out)
  with (
    jobs.deleted_if_wrong(folder),
    unfinished.resumed(work, f"--out={wanted.out}"),
  ):
    jobs.check_key(work, folder, job, layout=FLAT)
    left_out, names = _write_flat(folder, work, job)
    facts = _finish(folder, {**job.facts, "images": names}, left_out)
  return Made(folder, facts, left_out)


def _write_flat(
  folder: pathlib.Path, work: pathlib.Path, job: jobs.Job
) -> tuple[list[dict[str, Any]], list[str]]:
  """Write images.npy and texts.npy; return what is left out, and the names."""
  left_out: list[dict[str, Any]] = []
  names: list[str] = []
  embed_dim = job.model.config.embed_dim
  if job.found is not None:
    num = len(job.found)
    with progress.Progress("Embedding images", num) as bar:
      made = jobs.embed_pictures(work / "images", job, range(num), bar)
    left_out = part_files.left_out(made)
    names = [about["name"] for about in part_files.about(made)]
    if not names:
      raise jobs.no_image(left_out, num)
    part_files.join(made, folder / "images.npy", embed_dim)
  if job.lines:
    with progress.Progress("Embedding texts", len(job.lines)) as bar:
      made = jobs.embed_texts(work / "texts", job, job.lines, 0, bar)
    part_files.join(made, folder / "texts.npy", embed_dim)
  return left_out, names


def _finish(
  folder: pathlib.Path,
  facts: Mapping[str, Any],
  left_out: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
  """Write left_out.jsonl and embed.json; return the latter's contents."""
  facts = {**facts, "num_left_out": len(left_out)}
  if left_out:
    named = "".join(strict_json.dumps(line) + "\n" for line in left_out)
    whole_files.write(folder / LEFT_OUT, named.encode())
  # Written last: a folder with this file is whole.
  whole_files.write(folder / _FACTS, _json(facts).encode() + b"\n")
  return facts


def read_texts(path: pathlib.Path, flag: str = "texts") -> list[str]:
  """Return the lines of a UTF-8 file, without spaces at their ends.

  Args:
    path: the file.
    flag: name of its flag, for messages.

  Raises:
    ValueError: the file is not text, has no lines, or a line is empty (row N
      of the embeddings is line N).
  """
  if not path.is_file():
    raise ValueError(f"--{flag}={path} is no file; expected one text a line")
  try:
    # Not splitlines, which also breaks at characters that a text may hold.
    lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
  except UnicodeDecodeError as error:
    raise ValueError(f"--{flag}={path} is not UTF-8: {error}") from error
  lines = [line.strip() for line in lines]
  if "" in lines:
    raise ValueError(
      f"--{flag}={path}: line {lines.index('') + 1} of {len(lines)} is empty;"
      " expected one text a line"
    )
  return lines


def _json(facts: Mapping[str, Any]) -> str:
  return json.dumps(facts, indent=2, ensure_ascii=False)


def num_images(facts: Mapping[str, Any]) -> int:
  """Return the number of pictures with an embedding."""
  return facts["num_images"] if "num_images" in facts else len(facts["images"])


def _summary(made: Made, wanted: Wanted) -> str:
  facts = made.facts
  lines = [
    f"{num_images(facts)} images and {facts['num_texts']} texts embedded in"
    f" {made.folder}; scale {facts['scale']:.6g}, bias {facts['bias']:.6g}"
  ]
  if wanted.images:
    lines += about_left_out(made)
    lines += pictures.unread(wanted.images, wanted.recursive)
  return "\n".join(lines)


def about_left_out(made: Made) -> list[str]:
  """Return a line about the images that were left out; none without any."""
  if not made.left_out:
    return []
  shown = "; ".join(
    f"{entry['path']}: {entry['kind']}: {entry['message']}"
    for entry in made.left_out[:_NUM_NAMED]
  )
  total = len(made.left_out) + num_images(made.facts)
  return [
    f"Left out, {len(made.left_out)} of {total} images (all are named in"
    f" {made.folder / LEFT_OUT}): {shown}"
  ]
