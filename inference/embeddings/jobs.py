"""Embedding of pictures and texts, as all layouts of a folder share it.

Work that was killed goes on: until a folder is complete, what is done lies in
OUT/.unfinished as parts that are whole, with a key that says what the work was
begun with.
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

import jax
import numpy as np

from evaluators import embedding, embedding_cache, row_batches
from inference import model as model_lib
from inference import pictures, read_ahead
from inference.embeddings import part_files
from input_pipeline import faults, model_inputs, tokenizers
from input_pipeline.images import image_ops
from models import stack
from runtime import progress, provenance
from runtime.storage import unfinished, whole_files

UNFINISHED = ".unfinished"
# Version of the parts; work of another one is begun anew.
_VERSION = 2
# Largest batch whose layers are computed apart (stack.layers_apart): with more
# rows, a program that is shorter to compile is as fast.
_FEW = 8

# Number of an input, its row, and what is known of it.
Numbered = tuple[int, row_batches.Row, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Job:
  """Model and inputs of a folder of embeddings.

  Attributes:
    model: computes the embeddings.
    found: pictures; None for none.
    lines: texts.
    protocol: of pictures; None without any.
    tokenizer: of texts and captions; None without any.
    needs_caption: whether a picture without a caption is left out.
    batch_size: most rows that are computed at once.
    facts: what embed.json says of them.
  """

  model: model_lib.Model
  found: pictures.Pictures | None
  lines: Sequence[str]
  protocol: model_inputs.Protocol | None
  tokenizer: tokenizers.Tokenizer | None
  needs_caption: bool
  batch_size: int
  facts: Mapping[str, Any]

  @functools.cached_property
  def embedder(self) -> embedding.Embedder:
    """Functions of the model, compiled once for all parts."""
    numbers = len(self.lines), 0 if self.found is None else len(self.found)
    return self.model.make_embedder(min(self.batch_size, max(numbers)))


def make_job(
  path: str,
  *,
  images: str,
  found: pictures.Pictures | None,
  texts: str,
  lines: Sequence[str],
  captions: Sequence[str] | None,
  batch_size: int,
  mesh: jax.sharding.Mesh | None = None,
) -> Job:
  """Load the model, and check that it has the towers that are needed.

  Args:
    path: run or published model, as `model.load` takes it.
    images, texts: values of the flags.
    found, lines: pictures and texts that they name.
    captions: as `pictures.find` takes it.
    batch_size: most rows that are computed at once.
    mesh: devices; None for all.

  Raises:
    ValueError, OSError: there is no such model, or it lacks a tower; the
      message names the flag.
  """
  model = model_lib.load(path, mesh)
  has_captions = captions is not None
  for flag, value, tower in (
    ("images", images, model.config.image),
    ("texts", texts, model.config.text),
    ("captions", has_captions, model.config.text),
  ):
    if value and tower is None:
      kind = "images" if flag == "images" else "texts"
      raise ValueError(f"--{flag}: {path} has no tower for {kind}")
  protocol = model.make_image_protocol() if images else None
  tokenizer = model.make_tokenizer() if texts or has_captions else None
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
    "texts": texts,
    "num_texts": len(lines),
    "versions": provenance.versions(),
  }
  return Job(
    model, found, lines, protocol, tokenizer, has_captions, batch_size, facts
  )


def check_key(
  work: pathlib.Path, folder: pathlib.Path, job: Job, **layout: Any
) -> None:
  """Write what the work was begun with; refuse a folder of other inputs.

  Args:
    work: folder of the unfinished work.
    folder: of the embeddings, for the message.
    job: model and inputs.
    layout: what the files depend on beside these.

  Raises:
    RunError: the work was begun with other inputs.
  """
  path = work / "key.json"
  content = "\0".join(job.lines).encode()
  key = {
    **job.facts,
    **layout,
    "num_images": len(job.found) if job.found is not None else 0,
    "images": job.found.fingerprint() if job.found is not None else "",
    "needs_caption": job.needs_caption,
    "inputs": hashlib.blake2b(content, digest_size=8).hexdigest(),
    "version": _VERSION,
  }
  key = json.loads(json.dumps(key))
  if path.exists():
    if changed := unfinished.changes(json.loads(path.read_text()), key):
      raise unfinished.other_key(
        f"--out={folder}", "embeddings of other inputs; undo these", changed
      )
    return
  whole_files.write(path, json.dumps(key).encode())


@contextlib.contextmanager
def deleted_if_wrong(folder: pathlib.Path) -> Iterator[None]:
  """Delete the work if its inputs are at fault: nothing of it can be used."""
  try:
    yield
  except ValueError:
    whole_files.delete_folder(folder / UNFINISHED)
    with contextlib.suppress(OSError):  # not empty
      folder.rmdir()
    raise


def embed_pictures(
  folder: pathlib.Path, job: Job, inputs: range, bar: progress.Progress
) -> list[part_files.Part]:
  """Return the parts of pictures; write those that are missing.

  Args:
    folder: of the parts.
    job: model and inputs.
    inputs: numbers of the pictures.
    bar: advances with them.
  """
  assert job.found is not None
  assert job.protocol is not None
  found, protocol = job.found, job.protocol
  broken: dict[int, dict[str, Any]] = {}

  def rows(start: int) -> Generator[Numbered]:
    wanted = range(start, inputs.stop)
    return picture_rows(
      protocol, found, wanted, broken, needs_caption=job.needs_caption
    )

  return _fill(folder, inputs, job, rows, broken, bar)


def embed_texts(
  folder: pathlib.Path,
  job: Job,
  texts: Sequence[str],
  start: int,
  bar: progress.Progress | None,
) -> list[part_files.Part]:
  """Return the parts of texts; write those that are missing.

  Args:
    folder: of the parts.
    job: model.
    texts: the texts.
    start: number of the first.
    bar: advances with them; None for none.
  """
  assert job.tokenizer is not None
  tokenizer, inputs = job.tokenizer, range(start, start + len(texts))

  def rows(first: int) -> Generator[Numbered]:
    for index in range(first, inputs.stop):
      yield index, tokenizer([texts[index - start]])[0], {}

  return _fill(folder, inputs, job, rows, {}, bar, "text")


def picture_rows(
  protocol: model_inputs.Protocol,
  found: pictures.Pictures,
  wanted: range,
  broken: dict[int, dict[str, Any]],
  *,
  needs_caption: bool = False,
) -> Generator[Numbered]:
  """Yield pictures that can be used; fill `broken` with lines about others.

  Args:
    protocol: prepares the pixels.
    found: pictures.
    wanted: numbers of those to read.
    broken: filled by number.
    needs_caption: whether a picture without a caption is left out.
  """
  # Pillow decodes and resizes outside of Python's lock.
  read = functools.partial(_read, protocol, found, needs_caption)
  ahead = 2 * row_batches.BATCH_SIZE
  with read_ahead.mapped(read, iter(wanted), ahead) as results:
    for index, (row, about) in zip(wanted, results, strict=True):
      if isinstance(row, faults.ExampleError):
        broken[index] = {
          "index": index,
          "path": about["name"],
          "kind": row.kind,
          "message": str(row),
        }
      else:
        yield index, row, about


def no_image(left_out: Sequence[Mapping[str, Any]], num: int) -> ValueError:
  """Return the error of pictures of which none can be used."""
  first = left_out[0]
  return ValueError(
    f"--images: none of {num} files is an image that can be used; the first:"
    f" {first['path']}: {first['message']}"
  )


def _read(
  protocol: model_inputs.Protocol,
  found: pictures.Pictures,
  needs_caption: bool,
  index: int,
) -> tuple[row_batches.Row | faults.ExampleError, dict[str, Any]]:
  """Return a picture's pixels, or why there are none, and what is known."""
  try:
    picture = found[index]
  except faults.ExampleError as error:
    return error, {"name": found.name(index)}
  about: dict[str, Any] = {"name": picture.name}
  if picture.captions:
    about["caption"] = picture.captions[0]
  elif needs_caption:
    message = "the picture has no caption"
    return faults.ExampleError("caption_missing", message), about
  try:
    return protocol.apply(image_ops.decode(picture.data)), about
  except faults.ExampleError as error:
    return error, about
  except ValueError as error:  # too long for the protocol
    return faults.ExampleError("image_too_large", str(error)), about


def _fill(
  folder: pathlib.Path,
  inputs: range,
  job: Job,
  rows_from: Callable[[int], Generator[Numbered]],
  broken: dict[int, dict[str, Any]],
  bar: progress.Progress | None,
  kind: str = "image",
) -> list[part_files.Part]:
  """Write the parts of a folder that are missing; return all.

  Args:
    folder: of the parts.
    inputs: numbers of the images or texts.
    job: the model.
    rows_from: yields inputs from a number on.
    broken: lines about inputs left out, by their numbers; filled by rows_from.
    bar: advances with the inputs; None for none.
    kind: "image" or "text".
  """
  done = part_files.read(folder, inputs.start)
  start = done[-1].stop if done else inputs.start
  embedder, model = job.embedder, job.model
  fn = embedder.images_fn if kind == "image" else embedder.texts_fn
  params = model.params
  if embedder.batch_size <= _FEW and model.mesh.size == 1:
    params = stack.layers_apart(params)
  read: collections.deque[tuple[int, dict[str, Any]]] = collections.deque()

  def rows() -> Generator[row_batches.Row]:
    with contextlib.closing(rows_from(start)) as numbered:
      for index, row, about in numbered:
        read.append((index, about))
        yield row

  def advance(count: int) -> None:
    if bar is not None:
      bar.advance(count)

  writer = part_files.Writer(folder, start, model.config.embed_dim)
  advance(start - inputs.start)
  with contextlib.closing(rows()) as rows_read:
    stacked = row_batches.batches(rows_read, embedder.batch_size)
    for z_BE in embedder.stream(fn, params, stacked, kind):
      named = [read.popleft() for _ in range(len(z_BE))]
      stop = named[-1][0] + 1
      advance(stop - writer.read)
      writer.add(z_BE, [about for _, about in named], stop, broken)
  advance(inputs.stop - writer.read)
  writer.finish(inputs.stop, broken)
  return done + writer.written


def in_memory(
  model: model_lib.Model,
  found: pictures.Pictures,
  batch_size: int = row_batches.BATCH_SIZE,
) -> tuple[np.ndarray, list[str], list[dict[str, Any]]]:
  """Return embeddings of pictures, their names, and lines about others.

  Args:
    model: has an image tower.
    found: pictures.
    batch_size: most pictures embedded at once.

  Returns:
    float32 [N, E], N names, and the lines that left_out.jsonl would have.

  Raises:
    ValueError: no file is an image.
  """
  protocol = model.make_image_protocol()
  embedder = model.make_embedder(min(batch_size, len(found)))
  broken: dict[int, dict[str, Any]] = {}
  names: list[str] = []

  def rows() -> Generator[row_batches.Row]:
    wanted = range(len(found))
    with contextlib.closing(
      picture_rows(protocol, found, wanted, broken)
    ) as numbered:
      for _, row, about in numbered:
        names.append(about["name"])
        yield row

  parts = []
  with (
    progress.Progress("Embedding images", len(found)) as bar,
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
    raise no_image(left_out, len(found))
  return np.concatenate(parts), names, left_out
