"""A folder of embeddings: images.npy and texts.npy, in input order.

Images that cannot be decoded are left out and named in left_out.jsonl. Work
that was killed goes on: until it is complete it lies in OUT/.unfinished.
"""

import collections
import contextlib
import functools
import hashlib
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from evaluators import embedding
from inference import image_files, read_ahead, row_batches
from inference import model as model_lib
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops
from models import stack
from runtime import checks, progress, provenance
from runtime.storage import jsonl, unfinished, whole_files

LEFT_OUT = "left_out.jsonl"
_UNFINISHED = ".unfinished"
_FACTS = "embed.json"
# Largest batch whose layers are computed apart (stack.layers_apart): with more
# rows, a program that is shorter to compile is as fast.
_FEW = 8
# Seconds between two records of the rows that are on the disk.
_SAVE_SECONDS = 10.0
# Files left out that a message names.
_NUM_NAMED = 3


def run(
  path: str,
  *,
  images: str,
  texts: str,
  out: str,
  batch_size: int = row_batches.BATCH_SIZE,
  as_json: bool = False,
) -> int:
  """Embed with the model at `path`; write a folder, or go on with one.

  Args:
    path: run or published model, as `model.load` takes it.
    images: pattern as `image_files.find` takes it; "" for none.
    texts: file as `read_texts` takes it; "" for none.
    out: folder to write images.npy, texts.npy (float32, rows of length 1) and
      embed.json to. It must not exist, be empty, or have been begun with the
      same inputs. embed.json names the image of each row.
    batch_size: most rows that are computed at once.
    as_json: print embed.json instead of a line.

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
  folder = pathlib.Path(out)
  if others := set(unfinished.names(folder)) - {_UNFINISHED}:
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
  with unfinished.resumed(work, f"--out={out}"), _deleted_if_wrong(folder):
    _check_key(work, folder, facts, lines)
    left_out: list[dict[str, Any]] = []
    if protocol is not None:
      left_out = _embed_images(work, model, protocol, image_paths, batch_size)
    if tokenizer is not None:
      embedder = model.make_embedder(min(batch_size, len(lines)))
      rows = (tokenizer([line])[0] for line in lines)
      z_NE = _new_array(work / "texts.npy", len(lines), model)
      _fill(z_NE, 0, embedder, model, rows, "texts")
    names = {entry["path"] for entry in left_out}
    facts["images"] = [x for x in facts["images"] if x not in names]
    facts["num_left_out"] = len(left_out)
    for name in ("images.npy", "texts.npy", LEFT_OUT):
      if (work / name).exists():
        (work / name).replace(folder / name)
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    # Written last: a folder with this file is whole.
    whole_files.write(folder / _FACTS, text.encode() + b"\n")
  print(text if as_json else _summary(folder, facts, left_out, images))
  return 0


def read_texts(path: pathlib.Path) -> list[str]:
  """Return the lines of a UTF-8 file, without spaces at their ends.

  Raises:
    ValueError: the file is not text, has no lines, or a line is empty (row N
      of the embeddings is line N).
  """
  if not path.is_file():
    raise ValueError(f"--texts={path} is no file; expected one text a line")
  try:
    # Not splitlines, which also breaks at characters that a text may hold.
    lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
  except UnicodeDecodeError as error:
    raise ValueError(f"--texts={path} is not UTF-8: {error}") from error
  lines = [line.strip() for line in lines]
  if "" in lines:
    raise ValueError(
      f"--texts={path}: line {lines.index('') + 1} of {len(lines)} is empty;"
      " expected one text a line"
    )
  return lines


@contextlib.contextmanager
def _deleted_if_wrong(folder: pathlib.Path) -> Iterator[None]:
  """Delete the work if its inputs are at fault: nothing of it can be used."""
  try:
    yield
  except ValueError:
    shutil.rmtree(folder / _UNFINISHED)
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


def _embed_images(
  work: pathlib.Path,
  model: model_lib.Model,
  protocol: model_inputs.Protocol,
  paths: list[pathlib.Path],
  batch_size: int,
) -> list[dict[str, Any]]:
  """Write images.npy and left_out.jsonl; return the lines of the latter."""
  state, left_out = work / "done.jsonl", work / LEFT_OUT
  done = ([{"read": 0, "written": 0}, *jsonl.read(state)])[-1]
  jsonl.keep(left_out, lambda line: line["index"] < done["read"])
  z_NE = _new_array(work / "images.npy", len(paths), model)
  embedder = model.make_embedder(min(batch_size, len(paths)))
  read = functools.partial(_read_image, protocol)
  remaining = range(done["read"], len(paths))
  indices: collections.deque[int] = collections.deque()
  broken, records = jsonl.Writer(left_out), jsonl.Writer(state)

  def rows(
    results: Iterator[row_batches.Row | faults.ExampleError],
  ) -> Iterator[row_batches.Row]:
    for index, row in zip(remaining, results, strict=True):
      if isinstance(row, faults.ExampleError):
        broken.write(
          {
            "index": index,
            "path": str(paths[index]),
            "kind": row.kind,
            "message": str(row),
          }
        )
      else:
        indices.append(index)
        yield row

  saved = time.monotonic()

  def on_rows(num_rows: int, num_written: int) -> None:
    nonlocal saved
    last = [indices.popleft() for _ in range(num_rows)][-1]
    if time.monotonic() - saved > _SAVE_SECONDS:
      z_NE.flush()
      broken.sync()
      records.write({"read": last + 1, "written": num_written})
      saved = time.monotonic()

  todo = (paths[index] for index in remaining)
  with (
    contextlib.closing(broken),
    contextlib.closing(records),
    # Pillow decodes and resizes outside of Python's lock.
    read_ahead.mapped(read, todo, 2 * row_batches.BATCH_SIZE) as results,
  ):
    start, made = done["written"], rows(results)
    num_rows = _fill(z_NE, start, embedder, model, made, "images", on_rows)
  lines = jsonl.read(left_out)
  if not num_rows:
    raise ValueError(
      f"--images: none of {len(paths)} files is an image; the first:"
      f" {lines[0]['path']}: {lines[0]['message']}"
    )
  if lines:
    _shorten(work / "images.npy", num_rows)
  else:
    left_out.unlink()
  return lines


def _new_array(
  path: pathlib.Path, num_rows: int, model: model_lib.Model
) -> np.memmap:
  """Return the rows of a file, which is made if it is not there."""
  shape = num_rows, model.config.embed_dim
  mode = "r+" if path.exists() else "w+"
  return np.lib.format.open_memmap(path, mode, np.float32, shape)


def _shorten(path: pathlib.Path, num_rows: int) -> None:
  """Keep the first rows of a file of embeddings."""
  z_NE = np.load(path, mmap_mode="r", allow_pickle=False)
  with whole_files.replacing(path) as file:
    header = {"descr": "<f4", "fortran_order": False}
    shape = num_rows, z_NE.shape[1]
    np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
    for start in range(0, num_rows, 1024):
      file.write(z_NE[start : min(start + 1024, num_rows)].tobytes())


def _fill(
  z_NE: np.memmap,
  start: int,
  embedder: embedding.Embedder,
  model: model_lib.Model,
  rows: Iterator[row_batches.Row],
  name: str,
  on_rows: Callable[[int, int], None] | None = None,
) -> int:
  """Write the embeddings of rows from `start` on; return where they end."""
  fn = embedder.images_fn if name == "images" else embedder.texts_fn
  params = model.params
  if embedder.batch_size <= _FEW and model.mesh.size == 1:
    params = stack.layers_apart(params)
  with progress.Progress(f"Embedding {name}", len(z_NE)) as bar:
    bar.advance(start)
    stacked = row_batches.batches(rows, embedder.batch_size)
    for z_BE in embedder.stream(fn, params, stacked, name[:-1]):
      z_NE[start : start + len(z_BE)] = z_BE
      start += len(z_BE)
      bar.advance(len(z_BE))
      if on_rows is not None:
        on_rows(len(z_BE), start)
  z_NE.flush()
  return start


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


def _summary(
  folder: pathlib.Path,
  facts: dict[str, Any],
  left_out: list[dict[str, Any]],
  images: str,
) -> str:
  lines = [
    f"{len(facts['images'])} images and {facts['num_texts']} texts embedded in"
    f" {folder}; scale {facts['scale']:.6g}, bias {facts['bias']:.6g}"
  ]
  if left_out:
    shown = "; ".join(
      f"{entry['path']}: {entry['kind']}: {entry['message']}"
      for entry in left_out[:_NUM_NAMED]
    )
    lines.append(
      f"Left out, {len(left_out)} of {len(left_out) + len(facts['images'])}"
      f" images (all are named in {folder / LEFT_OUT}): {shown}"
    )
  if images:
    lines += image_files.unread(images)
  return "\n".join(lines)
