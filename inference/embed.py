"""A folder of embeddings: images.npy and texts.npy, in input order.

Images that cannot be decoded are left out and named in left_out.jsonl. Work
that was killed goes on: until it is complete it lies in OUT/.unfinished, as
parts that are whole.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import embedding, embedding_cache
from inference import embedding_parts, image_files, read_ahead, row_batches
from inference import model as model_lib
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops
from models import stack
from runtime import checks, progress, provenance
from runtime.storage import (
  bucket_path,
  strict_json,
  unfinished,
  whole_files,
)

LEFT_OUT = "left_out.jsonl"
_UNFINISHED = ".unfinished"
_FACTS = "embed.json"
_JOINED = ("images.npy", "texts.npy", LEFT_OUT)
# Largest batch whose layers are computed apart (stack.layers_apart): with more
# rows, a program that is shorter to compile is as fast.
_FEW = 8
# Files left out that a message names.
_NUM_NAMED = 3


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


def run(
  path: str,
  *,
  images: str,
  texts: str,
  out: str,
  batch_size: int = row_batches.BATCH_SIZE,
  as_json: bool = False,
) -> int:
  """Embed as `write` does, and print what was written.

  Args:
    path, images, texts, out, batch_size: as of `write`.
    as_json: print embed.json instead of a line.

  Raises:
    ValueError, OSError, RunError: as `write` does.
  """
  made = write(path, images=images, texts=texts, out=out, batch_size=batch_size)
  print(_json(made.facts) if as_json else _summary(made, images))
  return 0


def write(
  path: str,
  *,
  images: str,
  texts: str,
  out: str | pathlib.Path,
  batch_size: int = row_batches.BATCH_SIZE,
) -> Made:
  """Embed with the model at `path`; write a folder, or go on with one.

  Args:
    path: run or published model, as `model.load` takes it.
    images: pattern as `image_files.find` takes it; "" for none.
    texts: file as `read_texts` takes it; "" for none.
    out: folder to write images.npy, texts.npy (float32, rows of length 1) and
      embed.json to. It must not exist, be empty, or have been begun with the
      same inputs. embed.json names the image of each row.
    batch_size: most rows that are computed at once.

  Raises:
    ValueError, OSError: an argument is wrong, or no image can be decoded; the
      message names its flag.
    RunError: the folder was begun with other inputs, or is in use.
  """
  if not images and not texts:
    raise ValueError(
      "nothing to embed: give --images=GLOB, --texts=FILE, or both"
    )
  checks.at_least("--batch_size", batch_size, 1)
  if not out:
    raise ValueError("--out is missing: --out=FOLDER")
  folder = bucket_path.make(out)
  there = {*unfinished.names(folder)}
  # A kill while the files are joined leaves some of them beside the work.
  begun = {_UNFINISHED, *_JOINED, _FACTS} if _UNFINISHED in there else set()
  if others := there - begun:
    raise unfinished.taken(folder, sorted(others), "that this task has begun")
  # Inputs are listed before a model of gigabytes is read.
  image_paths = image_files.find(images) if images else []
  lines = read_texts(pathlib.Path(texts)) if texts else []
  model = model_lib.load(path)
  for flag, value, tower in (
    ("images", images, model.config.image),
    ("texts", texts, model.config.text),
  ):
    if value and tower is None:
      raise ValueError(f"--{flag}: {path} has no tower for {flag}")
  protocol = model.make_image_protocol() if images else None
  tokenizer = model.make_tokenizer() if texts else None
  facts = {
    "model": path,
    "family": model.family,
    "step": model.step,
    "digest": embedding_cache.model_digest(model.config, model.params),
    "embed_dim": model.config.embed_dim,
    "scale": model.scale,
    "bias": model.bias,
    "image_protocol": protocol and model_inputs.protocol_facts(protocol),
    "tokenizer": tokenizer and model_inputs.tokenizer_facts(tokenizer),
    "images": [str(path) for path in image_paths],
    "texts": texts,
    "num_texts": len(lines),
    "versions": provenance.versions(),
  }
  work = folder / _UNFINISHED
  with _deleted_if_wrong(folder), unfinished.resumed(work, f"--out={out}"):
    _check_key(work, folder, facts, lines)
    left_out: list[dict[str, Any]] = []
    if protocol is not None:
      made = _embed_images(work, model, protocol, image_paths, batch_size)
      left_out = embedding_parts.left_out(made)
      embedding_parts.join(made, folder / "images.npy")
    if tokenizer is not None:
      made = _embed_texts(work, model, tokenizer, lines, batch_size)
      embedding_parts.join(made, folder / "texts.npy")
    names = {entry["path"] for entry in left_out}
    facts["images"] = [x for x in facts["images"] if x not in names]
    facts["num_left_out"] = len(left_out)
    if left_out:
      named = "".join(strict_json.dumps(line) + "\n" for line in left_out)
      whole_files.write(folder / LEFT_OUT, named.encode())
    # Written last: a folder with this file is whole.
    whole_files.write(folder / _FACTS, _json(facts).encode() + b"\n")
  return Made(folder, facts, left_out)


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


@contextlib.contextmanager
def _deleted_if_wrong(folder: pathlib.Path) -> Iterator[None]:
  """Delete the work if its inputs are at fault: nothing of it can be used."""
  try:
    yield
  except ValueError:
    whole_files.delete_folder(folder / _UNFINISHED)
    with contextlib.suppress(OSError):  # not empty
      folder.rmdir()
    raise


def _check_key(
  work: pathlib.Path,
  folder: pathlib.Path,
  facts: dict[str, Any],
  lines: list[str],
) -> None:
  """Refuse a folder that was begun with other inputs; else write the key."""
  path = work / "key.json"
  content = "\0".join([*facts["images"], *lines]).encode()
  key = {name: x for name, x in facts.items() if name != "images"} | {
    "num_images": len(facts["images"]),
    "inputs": hashlib.blake2b(content, digest_size=8).hexdigest(),
  }
  key = json.loads(json.dumps(key))
  if path.exists():
    if changed := unfinished.changes(json.loads(path.read_text()), key):
      raise unfinished.other_key(
        f"--out={folder}", "embeddings of other inputs; undo these", changed
      )
    return
  whole_files.write(path, json.dumps(key).encode())


def images_in_memory(
  model: model_lib.Model,
  paths: Sequence[pathlib.Path],
  batch_size: int = row_batches.BATCH_SIZE,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
  """Return embeddings of the files that are images, and lines about others.

  Args:
    model: has an image tower.
    paths: files.
    batch_size: most images embedded at once.

  Returns:
    float32 [N, E], and the lines that left_out.jsonl would have.

  Raises:
    ValueError: no file is an image.
  """
  protocol = model.make_image_protocol()
  embedder = model.make_embedder(min(batch_size, len(paths)))
  broken: dict[int, dict[str, Any]] = {}

  def rows() -> Generator[row_batches.Row]:
    for _, row in _numbered(protocol, paths, 0, broken):
      yield row

  parts = []
  with (
    progress.Progress("Embedding images", len(paths)) as bar,
    contextlib.closing(rows()) as inputs,
  ):
    stacked = row_batches.batches(inputs, embedder.batch_size)
    for z_BE in embedder.stream(
      embedder.images_fn, model.params, stacked, "image"
    ):
      parts.append(z_BE)
      bar.advance(len(z_BE))
    bar.advance(len(broken))
  left_out = [line for _, line in sorted(broken.items())]
  if not parts:
    raise _no_image(left_out, len(paths))
  return np.concatenate(parts), left_out


def _numbered(
  protocol: model_inputs.Protocol,
  paths: Sequence[pathlib.Path],
  start: int,
  broken: dict[int, dict[str, Any]],
) -> Generator[tuple[int, row_batches.Row]]:
  """Yield number and pixels of images from `start` on; fill `broken`."""
  # Pillow decodes and resizes outside of Python's lock.
  read = functools.partial(_read_image, protocol)
  ahead = 2 * row_batches.BATCH_SIZE
  with read_ahead.mapped(read, iter(paths[start:]), ahead) as results:
    for index, row in enumerate(results, start):
      if isinstance(row, faults.ExampleError):
        broken[index] = {
          "index": index,
          "path": str(paths[index]),
          "kind": row.kind,
          "message": str(row),
        }
      else:
        yield index, row


def _no_image(left_out: Sequence[Mapping[str, Any]], num: int) -> ValueError:
  first = left_out[0]
  return ValueError(
    f"--images: none of {num} files is an image; the first: {first['path']}:"
    f" {first['message']}"
  )


def _embed_images(
  work: pathlib.Path,
  model: model_lib.Model,
  protocol: model_inputs.Protocol,
  paths: list[pathlib.Path],
  batch_size: int,
) -> list[embedding_parts.Part]:
  """Return the parts of all images; ValueError where none can be decoded."""
  embedder = model.make_embedder(min(batch_size, len(paths)))
  broken: dict[int, dict[str, Any]] = {}

  def rows(start: int) -> Generator[tuple[int, row_batches.Row]]:
    return _numbered(protocol, paths, start, broken)

  folder = work / "images"
  made = _fill(folder, len(paths), embedder, model, rows, broken)
  if not any(part.num_rows for part in made):
    raise _no_image(embedding_parts.left_out(made), len(paths))
  return made


def _embed_texts(
  work: pathlib.Path,
  model: model_lib.Model,
  tokenizer: Callable[[list[str]], np.ndarray],
  lines: list[str],
  batch_size: int,
) -> list[embedding_parts.Part]:
  """Return the parts of all texts."""
  embedder = model.make_embedder(min(batch_size, len(lines)))

  def rows(start: int) -> Generator[tuple[int, row_batches.Row]]:
    for index in range(start, len(lines)):
      yield index, tokenizer([lines[index]])[0]

  return _fill(work / "texts", len(lines), embedder, model, rows, {})


def _fill(
  folder: pathlib.Path,
  num_inputs: int,
  embedder: embedding.Embedder,
  model: model_lib.Model,
  rows_from: Callable[[int], Generator[tuple[int, row_batches.Row]]],
  broken: dict[int, dict[str, Any]],
) -> list[embedding_parts.Part]:
  """Write the parts of a folder that are missing; return all.

  Args:
    folder: "images" or "texts" of the unfinished work.
    num_inputs: number of images or texts.
    embedder: functions of the model.
    model: its parameters.
    rows_from: yields inputs from a number on, each with its number.
    broken: lines about inputs left out, by their numbers; filled by rows_from.
  """
  done = embedding_parts.read(folder)
  start = done[-1].stop if done else 0
  name = folder.name
  fn = embedder.images_fn if name == "images" else embedder.texts_fn
  params = model.params
  if embedder.batch_size <= _FEW and model.mesh.size == 1:
    params = stack.layers_apart(params)
  indices: collections.deque[int] = collections.deque()

  def rows() -> Generator[row_batches.Row]:
    with contextlib.closing(rows_from(start)) as numbered:
      for index, row in numbered:
        indices.append(index)
        yield row

  writer = embedding_parts.Writer(folder, start, model.config.embed_dim)
  with progress.Progress(f"Embedding {name}", num_inputs) as bar:
    bar.advance(start)
    with contextlib.closing(rows()) as inputs:
      stacked = row_batches.batches(inputs, embedder.batch_size)
      for z_BE in embedder.stream(fn, params, stacked, name[:-1]):
        last = [indices.popleft() for _ in range(len(z_BE))][-1]
        bar.advance(last + 1 - writer.read)
        writer.add(z_BE, last + 1, broken)
    bar.advance(num_inputs - writer.read)
    writer.finish(num_inputs, broken)
  return done + writer.written


def _read_image(
  protocol: model_inputs.Protocol, path: pathlib.Path
) -> row_batches.Row | faults.ExampleError:
  """Return an image's pixels, or the error of a file that has none."""
  try:
    return protocol.apply(image_ops.decode(path.read_bytes()))
  except faults.ExampleError as error:
    return error
  except OSError as error:
    return faults.ExampleError("read_failed", str(error))
  except ValueError as error:  # too long for the protocol
    return faults.ExampleError("image_too_large", str(error))


def _json(facts: Mapping[str, Any]) -> str:
  return json.dumps(facts, indent=2, ensure_ascii=False)


def _summary(made: Made, images: str) -> str:
  facts = made.facts
  lines = [
    f"{len(facts['images'])} images and {facts['num_texts']} texts embedded in"
    f" {made.folder}; scale {facts['scale']:.6g}, bias {facts['bias']:.6g}"
  ]
  if images:
    lines += about_left_out(made)
    lines += image_files.unread(images)
  return "\n".join(lines)


def about_left_out(made: Made) -> list[str]:
  """Return a line about the images that were left out; none without any."""
  if not made.left_out:
    return []
  shown = "; ".join(
    f"{entry['path']}: {entry['kind']}: {entry['message']}"
    for entry in made.left_out[:_NUM_NAMED]
  )
  total = len(made.left_out) + len(made.facts["images"])
  return [
    f"Left out, {len(made.left_out)} of {total} images (all are named in"
    f" {made.folder / LEFT_OUT}): {shown}"
  ]
