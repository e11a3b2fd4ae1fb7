"""Models that embed the pairs of a pool, and the stores of their embeddings."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.on_disk import embedding_store
from evaluators import embedding, row_batches
from inference import model as model_lib
from inference import read_ahead
from input_pipeline import faults, model_inputs, tokenizers
from input_pipeline.images import image_ops
from input_pipeline.sources import record
from runtime import mesh as mesh_lib

# Text whose tokens identify a tokenizer, beside its rule.
_PROBE = "A photo of two red parrots, 2 métres apart!"


@dataclasses.dataclass(frozen=True)
class Scorer:
  """Model that embeds pairs; embeddings may be not finite.

  Attributes:
    key: digest of the model's parameters, image protocol and tokenizer.
    facts: description of the model, ready for JSON.
    embedders: compiled embedders by batch size, shared by all shards.
  """

  model: model_lib.Model
  protocol: model_inputs.Protocol
  tokenizer: tokenizers.Tokenizer
  key: str
  facts: dict[str, object]
  embedders: dict[int, embedding.Embedder] = dataclasses.field(
    default_factory=dict
  )

  @property
  def embed_dim(self) -> int:
    """Return the length of an embedding."""
    return self.model.config.embed_dim

  def images(
    self, images: Iterable[bytes | str | None], batch_size: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Embed encoded images, as `pairs` takes them.

    Returns:
      (float16 [M, E] of the images without a fault; bytes [N], the fault of
      each image, or b"".)
    """
    embedder = self._embedder(batch_size)
    faults_N: list[bytes] = []

    def decoded(
      rows: Iterator[row_batches.Row | bytes],
    ) -> Iterator[row_batches.Row]:
      for row in rows:
        faults_N.append(row if isinstance(row, bytes) else b"")
        if not isinstance(row, bytes):
          yield row

    parts = [np.zeros((0, self.embed_dim), np.float16)]
    # Pillow decodes and resizes outside of Python's lock.
    ahead = read_ahead.mapped(
      self._read, images, 2 * max(embedder.batch_size, row_batches.BATCH_SIZE)
    )
    with ahead as rows:
      batches = row_batches.batches(decoded(rows), embedder.batch_size)
      stream = embedder.stream(
        *(embedder.images_fn, self.model.params, batches, "image"),
        is_checked=False,
      )
      parts += (z_BE.astype(np.float16) for z_BE in stream)
    return np.concatenate(parts), np.array(faults_N, "S24")

  def texts(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """Embed texts: float16 [N, E]."""
    embedder = self._embedder(batch_size)
    parts = [np.zeros((0, self.embed_dim), np.float16)]
    tokens = (
      self.tokenizer(texts[start : start + embedder.batch_size])
      for start in range(0, len(texts), embedder.batch_size)
    )
    stream = embedder.stream(
      *(embedder.texts_fn, self.model.params, tokens, "text"),
      is_checked=False,
    )
    parts += (z_BE.astype(np.float16) for z_BE in stream)
    return np.concatenate(parts)

  def pairs(
    self,
    pairs: pa.Table,
    images: Iterable[bytes | str | None],
    image_N: np.ndarray,
    batch_size: int,
  ) -> np.ndarray:
    """Return the store's record of each pair, embedding_store.dtype [N].

    Args:
      pairs: table with uid, row and text.
      images: encoded images; the kind of its fault (a key of faults.KINDS) for
        an unreadable one, None for a missing one.
      image_N: index of each pair's image in `images`.
      batch_size: highest number of rows of one call.
    """
    records = np.zeros(len(pairs), embedding_store.dtype(self.embed_dim))
    records["uid"] = pool.uids(pairs)
    records["row"] = pairs["row"].to_numpy()
    zimg_ME, fault_M = self.images(images, batch_size)
    # Row in zimg_ME of each pair's image, for images without a fault.
    row_N = (np.cumsum(fault_M == b"") - 1)[image_N]
    fault_N = fault_M[image_N]
    has_image_N = fault_N == b""
    texts = pairs["text"].to_pylist()
    has_text_N = np.array([bool(text) for text in texts], bool)
    fault_N[has_image_N & ~has_text_N] = b"caption_missing"
    records["fault"] = fault_N
    is_good_N = has_image_N & has_text_N
    records["zimg"][is_good_N] = zimg_ME[row_N[is_good_N]]
    captions = [texts[n] for n in np.flatnonzero(is_good_N)]
    records["ztxt"][is_good_N] = self.texts(captions, batch_size)
    return records

  def _embedder(self, batch_size: int) -> embedding.Embedder:
    if batch_size not in self.embedders:
      self.embedders[batch_size] = self.model.make_embedder(batch_size)
    return self.embedders[batch_size]

  def _read(self, data: bytes | str | None) -> row_batches.Row | bytes:
    """Return an image ready for its tower, or the kind of its fault."""
    if isinstance(data, str):
      return data.encode()
    if not data:
      return b"image_missing"
    try:
      return self.protocol.apply(image_ops.decode(data))
    except faults.ExampleError as error:
      return error.kind.encode()


@functools.lru_cache(maxsize=1)
def load(path: str) -> Scorer:
  """Open a run's folder or a published model; the last one is cached.

  Raises:
    FileNotFoundError, ValueError: the path has no model that embeds both images
      and texts.
  """
  model = model_lib.load(path)
  for tower, inputs in (
    (model.config.image, "images"),
    (model.config.text, "texts"),
  ):
    if tower is None:
      raise ValueError(
        f"{path} has no tower for {inputs}; a filter needs one for images and "
        "one for texts"
      )
  protocol, tokenizer = model.make_image_protocol(), model.make_tokenizer()
  facts: dict[str, object] = {
    "model": path,
    "family": model.family,
    "step": model.step,
    "params": _digest(model.params),
    "config": repr(model.config),
    "image_protocol": repr(protocol),
    "tokenizer": repr((tokenizer.rule, tokenizer([_PROBE])[0].tolist())),
  }
  # The key leaves out the path: a copy is the same model.
  key = record.digest(tuple((k, v) for k, v in facts.items() if k != "model"))
  return Scorer(model, protocol, tokenizer, key, facts)


def open_store(
  context: operators.StepContext, model: str
) -> embedding_store.Store:
  """Return the store of the embeddings of a model, or of the pool's columns.

  Args:
    context: folders of the step.
    model: path for `load`, or embedding_store.COLUMNS and a name.
  """
  folder = context.workdir / embedding_store.FOLDER
  if model.startswith(embedding_store.COLUMNS):
    return embedding_store.of_columns(context, model)
  scorer = load(model)
  store = embedding_store.Store(folder / scorer.key, context.copy)
  if not (store.folder / "model.json").exists():
    store.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(scorer.facts, indent=2)
    context.copy.write(store.folder / "model.json", text.encode() + b"\n")
  return store


def make_mesh() -> jax.sharding.Mesh:
  """Return the mesh of all devices, along "data"."""
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))


def _digest(params: object) -> str:
  """Return a digest of the values of all parameters."""
  digest = hashlib.blake2b(digest_size=16)
  for path, array in jax.tree.leaves_with_path(params):
    value = np.asarray(jax.device_get(array))
    digest.update(repr((jax.tree_util.keystr(path), value.dtype)).encode())
    digest.update(np.ascontiguousarray(value).data)
  return digest.hexdigest()
