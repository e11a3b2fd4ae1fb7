"""Embeddings on disk, keyed by all that decides them.

A set is embedded once for each model, image protocol and state of its data.
Its folder holds parts of PART_SIZE examples, each written whole: an evaluation
that was killed goes on at the first part that is missing, and another metric
reads the parts alone. Two evaluations at once may write the same part; either
one is right.

  FOLDER/KEY/facts.json       model, protocol, data and runtime of KEY
  FOLDER/KEY/00000000.npz     embeddings, and keys and captions as JSON
  FOLDER/texts/KEY.npy        embeddings of a list of texts
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import embedding, text_batches
from input_pipeline import evaluation_split, model_inputs
from input_pipeline.sources import record as record_lib
from models import dual_encoder
from models.video import embedding as video_embedding
from runtime import cluster, long_work, progress
from runtime.storage import strict_json, whole_files

# Increased when embeddings of equal inputs change, or a part's layout does.
VERSION = 2
# Examples of a part, rounded up to whole batches.
PART_SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Embedded:
  """Embedded examples of a set.

  Attributes:
    examples: keys, captions and embeddings.
    data: digest of the encoded images and captions of all examples, in order.
    num_new: examples that were embedded now, and not read from the disk.
  """

  examples: embedding.Examples
  data: str
  num_new: int


@dataclasses.dataclass(frozen=True)
class Cache:
  """Folder of embeddings by one model.

  Attributes:
    folder: folder of the embeddings of all models.
    model: digest of the model, of `model_digest`.
    inputs: image protocol and tokenizer of the model.
    embedder: functions of the model.
    params: parameters of the model.
    text: config of the model's text tower; None: texts keep their padding.
  """

  folder: pathlib.Path
  model: str
  inputs: model_inputs.ModelInputs
  embedder: embedding.Embedder
  params: Any
  text: dual_encoder.TextConfig | None = None

  def images(
    self,
    name: str,
    split: evaluation_split.Split,
    source: Mapping[str, Any],
    *,
    facts: Mapping[str, Any] = types.MappingProxyType({}),
    video: video_embedding.EmbeddingConfig | None = None,
  ) -> Embedded:
    """Return the embedded examples of a split, embedding what is missing.

    Every process calls this, and all see the same folder.

    Args:
      name: name of the set, for progress and messages.
      split: opened examples.
      source: section of their source: the captions depend on it. With a split
        of videos, their views and tower too.
      facts: what else decides the embeddings: features of the embedder that
        are not the model's own, and `split.change`, by name.
      video: tower of a split of videos; None for images.

    Raises:
      ValueError: an example or an embedding cannot be used.
      embedding.Interrupted: the embedder was told to stop.
    """
    records: Any = split.records
    facts = {
      "version": VERSION,
      "model": self.model,
      "runtime": runtime_facts(),
      "image_protocol": model_inputs.protocol_facts(split.protocol),
      "data": split.state(),
      "source": dict(source),
      **facts,
    }
    folder = self.folder / _key(facts)
    size = -(-PART_SIZE // self.embedder.batch_size) * self.embedder.batch_size
    starts = range(0, len(split), size)
    missing = cluster.on_first(lambda: _missing(folder, starts))
    if missing and cluster.is_first():
      folder.mkdir(parents=True, exist_ok=True)
      text = strict_json.dumps({**facts, "set": name}, indent=2)
      whole_files.write(folder / "facts.json", f"{text}\n".encode())
    sizes = {x: min(size, len(split) - x) for x in missing}
    num_new = sum(sizes.values())
    with contextlib.ExitStack() as stack:
      bar = None
      if missing and cluster.is_first():
        bar = progress.Progress(f"Embedding {name}", num_new)
        stack.enter_context(bar)
      for start in missing:
        rows = range(start, start + sizes[start])
        digested = _Digested(records)
        # A view of records has all that a split reads.
        view = dataclasses.replace(split, records=digested)  # pyrefly: ignore
        part = self.embedder.split(self.params, view, rows=rows, video=video)
        content = digested.content(rows)
        cluster.on_first(
          functools.partial(_write, _part(folder, start), part, start, content)
        )
        if bar is not None:
          bar.advance(sizes[start])
    return _read([_part(folder, x) for x in starts], starts, num_new)

  def texts(self, texts: Sequence[str]) -> np.ndarray:
    """Return the embeddings of distinct texts: float32 [N, E]."""
    if not texts:
      return np.zeros((0, 0), np.float32)
    facts = {
      "version": VERSION,
      "model": self.model,
      "runtime": runtime_facts(),
      "tokenizer": model_inputs.tokenizer_facts(self.inputs.tokenizer),
      "texts": list(texts),
    }
    path = self.folder / "texts" / f"{_key(facts)}.npy"
    if cluster.on_first(path.is_file):
      return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    with long_work.progress_line("Embedding texts", len(texts)) as bar:
      z_NE = text_batches.embed(
        *(self.embedder, self.params, self.inputs.tokenizer(list(texts))),
        self.text,
        advance=bar.advance,
      )
    if cluster.is_first():
      path.parent.mkdir(parents=True, exist_ok=True)
      whole_files.write(path, _bytes(lambda file: np.save(file, z_NE)))
    return z_NE


def model_digest(config: Any, params: Any) -> str:
  """Return a digest of a model's config and of the values of its parameters.

  Args:
    config: dataclass of the towers.
    params: tree of arrays, whole on this process.
  """
  digest = hashlib.blake2b(repr(dataclasses.asdict(config)).encode())
  for path, array in jax.tree.leaves_with_path(params):
    value = np.asarray(jax.device_get(array))
    name = jax.tree_util.keystr(path)
    digest.update(repr((name, str(value.dtype), value.shape)).encode())
    digest.update(np.ascontiguousarray(value).view(np.uint8).data)
  return digest.hexdigest()[:32]


def runtime_facts() -> dict[str, str]:
  """Return what decides the last bits of an embedding beside its inputs."""
  return {"jax": jax.__version__, "platform": jax.devices()[0].device_kind}


class _Digested:
  """Records of others, whose content is digested as it is read."""

  def __init__(self, records: record_lib.Records):
    self._records = records
    self._digests: dict[int, bytes] = {}

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> record_lib.Record:
    record = self._records[index]
    digest = hashlib.blake2b(record.image, digest_size=16)
    digest.update(repr(sorted(record.texts.items())).encode())
    self._digests[index] = digest.digest()
    return record

  def __getattr__(self, name: str) -> Any:
    return getattr(self._records, name)

  def content(self, rows: range) -> bytes:
    """Return the digests of records in order, 0 for one that none could read.

    Each process has those that it read, and all call this.
    """
    digests: dict[int, str] = {}
    own = {row: digest.hex() for row, digest in self._digests.items()}
    for rows_and_digests in cluster.gather(lambda: [*own.items()]):
      digests |= dict(rows_and_digests)
    return b"".join(bytes.fromhex(digests.get(x, "00" * 16)) for x in rows)


def _key(facts: Mapping[str, Any]) -> str:
  text = strict_json.dumps(facts, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _missing(folder: pathlib.Path, starts: Sequence[int]) -> list[int]:
  there = whole_files.sizes(folder)
  return [start for start in starts if _part(folder, start).name not in there]


def _part(folder: pathlib.Path, start: int) -> pathlib.Path:
  return folder / f"{start:08d}.npz"


def _write(
  path: pathlib.Path, part: embedding.Examples, start: int, content: bytes
) -> None:
  named = json.dumps([part.keys, [dict(texts) for texts in part.texts]])
  whole_files.write(
    path,
    _bytes(
      lambda file: np.savez(
        file,
        zimg_NE=part.zimg_NE,
        rows=np.array(part.rows, np.int64) - start,
        named=np.frombuffer(named.encode(), np.uint8),
        content=np.frombuffer(content, np.uint8),
      )
    ),
  )


def _read(
  paths: Sequence[pathlib.Path], starts: Sequence[int], num_new: int
) -> Embedded:
  rows, keys, texts, z = [], [], [], []
  data = hashlib.blake2b(digest_size=16)
  for path, start in zip(paths, starts, strict=True):
    try:
      file = io.BytesIO(path.read_bytes())
      with np.load(file, allow_pickle=False) as part:
        z.append(part["zimg_NE"])
        rows += (part["rows"] + start).tolist()
        part_keys, part_texts = json.loads(part["named"].tobytes())
        data.update(part["content"].tobytes())
    except (OSError, ValueError, KeyError) as error:
      raise ValueError(
        f"{path} holds no embeddings ({error}): delete it, and it is made again"
      ) from error
    keys += part_keys
    texts += [{k: tuple(v) for k, v in one.items()} for one in part_texts]
  examples = embedding.Examples(
    tuple(rows), tuple(keys), tuple(texts), np.concatenate(z)
  )
  return Embedded(examples, data.hexdigest(), num_new)


def _bytes(write: Callable[[io.BytesIO], None]) -> bytes:
  file = io.BytesIO()
  write(file)
  return file.getvalue()
