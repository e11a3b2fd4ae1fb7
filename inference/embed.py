"""A folder of embeddings: images.npy and texts.npy, in input order."""

import functools
import json
import pathlib
from collections.abc import Iterator

import numpy as np

from evaluators import embedding
from inference import image_files, published, read_ahead, row_batches
from inference import model as model_lib
from input_pipeline.images import image_ops
from models import stack
from runtime import checks, progress, provenance, unfinished, whole_files

# Largest batch whose layers are computed apart (stack.layers_apart): with more
# rows, a program that is shorter to compile is as fast.
_FEW = 8


def run(
  path: str,
  *,
  images: str,
  texts: str,
  out: str,
  batch_size: int = row_batches.BATCH_SIZE,
  as_json: bool = False,
) -> int:
  """Embed with the model at `path`; write a folder, whole or not at all.

  Args:
    path: run or published model, as `model.load` takes it.
    images: pattern as `image_files.find` takes it; "" for none.
    texts: file as `read_texts` takes it; "" for none.
    out: folder to write images.npy, texts.npy (float32, rows of length 1) and
      embed.json to. It must not exist, or be empty.
    batch_size: most rows that are computed at once.
    as_json: print embed.json instead of a line.

  Raises:
    ValueError, OSError: an argument is wrong; the message names its flag.
  """
  if not images and not texts:
    raise ValueError(
      "nothing to embed: give --images=GLOB, --texts=FILE, or both"
    )
  checks.at_least("--batch_size", batch_size, 1)
  if not out:
    raise ValueError("--out is missing: --out=FOLDER")
  folder = pathlib.Path(out)
  unfinished.check_free(folder)
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
    "images": [str(path) for path in image_paths],
    "texts": texts,
    "num_texts": len(lines),
    "versions": provenance.versions(),
  }
  with unfinished.whole(folder) as temporary:
    if protocol is not None:
      embedder = model.make_embedder(min(batch_size, len(image_paths)))
      read = functools.partial(_read_image, protocol)
      # Pillow decodes and resizes outside of Python's lock.
      ahead = read_ahead.mapped(read, image_paths, 2 * row_batches.BATCH_SIZE)
      with ahead as rows:
        _save(temporary, "images", embedder, model, rows, len(image_paths))
    if tokenizer is not None:
      embedder = model.make_embedder(min(batch_size, len(lines)))
      rows = (tokenizer([line])[0] for line in lines)
      _save(temporary, "texts", embedder, model, rows, len(lines))
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    whole_files.write(temporary / "embed.json", text.encode() + b"\n")
  print(
    text
    if as_json
    else f"{len(image_paths)} images and {len(lines)} texts embedded in"
    f" {folder}; scale {model.scale:.6g}, bias {model.bias:.6g}"
  )
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


def _save(
  folder: pathlib.Path,
  name: str,
  embedder: embedding.Embedder,
  model: model_lib.Model,
  rows: Iterator[row_batches.Row],
  num_rows: int,
) -> None:
  """Write the embeddings of rows to a file; it may be larger than memory."""
  fn = embedder.images_fn if name == "images" else embedder.texts_fn
  z_NE = np.lib.format.open_memmap(
    folder / f"{name}.npy",
    mode="w+",
    dtype=np.float32,
    shape=(num_rows, model.config.embed_dim),
  )
  params = model.params
  if embedder.batch_size <= _FEW and model.mesh.size == 1:
    params = stack.layers_apart(params)
  start = 0
  with progress.Progress(f"Embedding {name}", num_rows) as bar:
    stacked = row_batches.batches(rows, embedder.batch_size)
    for z_BE in embedder.stream(fn, params, stacked, name[:-1]):
      z_NE[start : start + len(z_BE)] = z_BE
      start += len(z_BE)
      bar.advance(len(z_BE))
  z_NE.flush()


def _read_image(
  protocol: published.Protocol, path: pathlib.Path
) -> row_batches.Row:
  try:
    return protocol.apply(image_ops.decode(path.read_bytes()))
  except ValueError as error:
    raise ValueError(f"--images: {path}: {error}") from error
