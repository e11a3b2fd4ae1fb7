"""Answers to requests by a model and a gallery, computed in batches.

Methods are called by several threads at a time, one for each request.
"""

import base64
import functools
import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image as PillowImage

from evaluators import row_batches, zero_shot
from evaluators.generating import places
from inference import python_model
from inference.explaining import heat_maps, heat_pictures
from inference.indexing import thumbnails
from inference.searching import galleries, queries, search
from inference.serving import (
  batcher,
  fields,
  openapi,
  shared_gallery,
  writing,
)
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops
from input_pipeline.regions import box_tokens

# Sizes of the batches that are compiled; a batch is filled up to the next one.
_IMAGE_SIZES = (1, 4, 16)
_TEXT_SIZES = (1, 4, 8, 16, 64)
# Tokens of a text up to which it is not filled up to the length of the context,
# which takes several times as long.
_SHORT = 16
# Pictures decoded at once: one may take 200 MB.
_NUM_DECODED = 2
# Wait for another explanation, in seconds, before a request is refused.
_PATIENCE = 20.0
# Longest side in pixels of a picture in an answer.
_SHOWN_SIDE = 768
# Texts of labels in all templates.
_MOST_PROMPTS = 2_000

Rows = Sequence[Any]


class Told(Protocol):
  """Function that is told what is being done."""

  def __call__(self, stage: str, /) -> None: ...


class _Embedded:
  """Embeddings at hand, as queries.Query asks for them."""

  def __init__(self, z_E_of: Mapping[str, np.ndarray], embed_dim: int):
    self._z_E_of = z_E_of
    self.embed_dim = embed_dim

  def embed_texts(self, texts: str, /) -> np.ndarray:
    return self._z_E_of[texts][None]

  def embed_images(self, images: str, /) -> np.ndarray:
    return self._z_E_of[images][None]


class Service:
  """Model and gallery that answer requests.

  Attributes:
    writer: decoder beside the model, if it has one.
    methods: methods of heat maps that the model has.
  """

  def __init__(
    self,
    model: python_model.Model,
    gallery: galleries.Gallery | None,
    about: Mapping[str, Any],
  ):
    """Start the threads; `warm` compiles what they call.

    Args:
      model: both towers.
      gallery: pictures to search; None for none.
      about: facts about the gallery, for /v1/info.

    Raises:
      ValueError: the model has one tower only.
    """
    self._model = model
    self._about = dict(about)
    self._protocol = model.image_protocol
    self._tokenizer = model.tokenizer
    self._gallery = (
      None if gallery is None else shared_gallery.SharedGallery(gallery)
    )
    text_fns = self._embed_fns("text", _TEXT_SIZES)
    self._fns = {
      "text": text_fns,
      "image": self._embed_fns("image", _IMAGE_SIZES),
    }
    config = model.loaded.config.text
    assert config is not None  # as the model has a tokenizer
    self._text = config
    if config.ignores_padding and config.num_tokens > _SHORT:
      # The same functions, of fewer tokens.
      self._fns["short text"] = text_fns
    self._compiled: dict[str, tuple[int, ...]] = dict.fromkeys(self._fns, ())
    self._images = batcher.Batcher(
      functools.partial(self._embed, "image"),
      name="images",
      max_size=max(self._fns["image"]),
    )
    self._texts = batcher.Batcher(
      self._embed_texts, name="texts", max_size=max(self._fns["text"])
    )
    self.writer = writing.Writer(model)
    self._decoding = threading.Semaphore(_NUM_DECODED)
    self._explaining = threading.Semaphore(1)
    self.methods = tuple(x for x in openapi.METHODS if _has(x, model))

  def warm(self, told: Told, *, is_all: bool) -> None:
    """Compile what requests call: single rows, or all sizes and the maps.

    Until a size is compiled, batches are cut to those that are.

    Args:
      told: told of each stage.
      is_all: whether more is compiled than a first request needs.
    """
    blank_YXC = np.zeros((64, 64, 3), np.uint8)
    row = self._protocol.apply(blank_YXC)
    tokens_L = self._tokenizer(["a"])[0]
    one_of = {"text": tokens_L, "image": row, "short text": tokens_L[:_SHORT]}
    for kind, fns in self._fns.items():
      one = one_of[kind]
      for size, fn in fns.items():
        if size not in self._compiled[kind]:
          told(f"Compiling the {kind} tower for {size}")
          fn([one] * size)
          self._compiled[kind] = (*self._compiled[kind], size)
        if not is_all:
          break
    if is_all:
      told("Compiling heat maps")
      ztxt_E = self._embed("text", [tokens_L])[0]
      self._model.explain(blank_YXC, ztxt_E, self.methods[0])
      if self.writer.tasks:
        told("Compiling the decoder")
        self.writer.warm(row)

  def info(self) -> dict[str, Any]:
    """Return facts about model and gallery."""
    loaded = self._model.loaded
    return {
      "model": {
        "path": loaded.path,
        "family": loaded.family,
        "step": loaded.step,
        "digest": self._model.digest,
        "embed_dim": self._model.embed_dim,
        "loss": self._model.loss,
        "images": model_inputs.in_words(self._protocol),
      },
      "gallery": {
        **self._about,
        "num_pictures": 0 if self._gallery is None else len(self._gallery),
      },
      "methods": [*self.methods],
      "decoder": self.writer.facts(),
    }

  def embed(
    self, texts: Sequence[str] | None, images: Sequence[bytes] | None
  ) -> dict[str, Any]:
    """Return embeddings of length 1."""
    if not texts and not images:
      raise fields.RequestError(
        400, "texts or images are missing: there is nothing to embed"
      )
    ztxt = self._of_texts(texts or (), "texts")
    zimg = self._of_images(images or (), "images")
    return {
      "model": self._model.digest,
      "texts": [z_E.tolist() for z_E in ztxt],
      "images": [z_E.tolist() for z_E in zimg],
    }

  def search(
    self,
    query: str | None,
    image: bytes | None,
    without: str | None,
    *,
    query_weight: float,
    num_results: int,
    fold: float,
    thumbnails: bool,
  ) -> dict[str, Any]:
    """Return the pictures of the gallery that are most alike, best first."""
    if self._gallery is None:
      raise fields.RequestError(
        409, "there is no gallery: the server was started without --index"
      )
    if query is None and image is None:
      raise fields.RequestError(
        400, "query is missing: say what to look for", field="query"
      )
    at_hand, parts = {}, []
    if query is not None:
      at_hand["text"] = self._of_texts([query], "query")[0]
      parts.append(("text", False, query_weight))
    if without is not None:
      at_hand["without"] = self._of_texts([without], "without")[0]
      parts.append(("without", False, -1.0))
    if image is not None:
      at_hand["picture"] = self._of_images([image], "image")[0]
      parts.append(("picture", True, 1.0))
    dim = self._model.embed_dim
    try:
      query_E = queries.Query(tuple(parts)).vector(_Embedded(at_hand, dim))
    except ValueError as error:
      raise fields.RequestError(
        400, "without takes away all of the query", field="without"
      ) from error
    results = search.search(self._gallery, query_E, num_results, fold=fold)
    listed = [result.facts() for result in results]
    if thumbnails:
      for facts, result in zip(listed, results, strict=True):
        facts["thumbnail"] = self._thumbnail(result.row)
    return {
      "model": self._model.digest,
      **self._gallery.method(num_results),
      "results": listed,
    }

  def classify(
    self, image: bytes, labels: Sequence[str], templates: Sequence[str] | None
  ) -> dict[str, Any]:
    """Return labels with their probabilities, best first."""
    templates = templates or python_model.PLAIN
    for name, some in (
      ("labels", python_model.PLAIN),
      ("templates", templates),
    ):
      try:
        python_model.check_labels(labels, some)
      except ValueError as error:
        raise fields.RequestError(400, str(error), field=name) from error
    if len(labels) * len(templates) > _MOST_PROMPTS:
      raise fields.RequestError(
        400,
        f"labels times templates must be at most {_MOST_PROMPTS:,}; got"
        f" {len(labels):,} times {len(templates):,}",
        field="labels",
      )
    prompts = [x.replace("{}", label) for label in labels for x in templates]
    zimg_NE = np.stack(self._of_images([image], "image"))
    ztxt_PE = np.stack(self._of_texts(prompts, "labels"))
    zclass_AE = zero_shot.class_embeddings(ztxt_PE, len(labels))
    sim_NA = zimg_NE @ zclass_AE.T
    made = python_model.Classification(
      tuple(labels), self._model.probabilities(sim_NA), sim_NA
    )
    similarity_of = dict(zip(labels, sim_NA[0].tolist(), strict=True))
    return {
      "model": self._model.digest,
      "loss": self._model.loss,
      "labels": [
        {
          "label": label,
          "probability": probability,
          "similarity": similarity_of[label],
        }
        for label, probability in made.top(len(labels))[0]
      ],
    }

  def explain(self, image: bytes, text: str, method: str) -> dict[str, Any]:
    """Return a heat map over a picture, as PNG."""
    ztxt_E = self._of_texts([text], "text")[0]
    pixels_YXC = self._decoded(image, "image")
    if not self._explaining.acquire(timeout=_PATIENCE):
      raise fields.RequestError(
        429, "other maps are being made; try again", retry_after=5
      )
    try:
      made = self._model.explain(pixels_YXC, ztxt_E, method)
    except (faults.ExampleError, ValueError) as error:
      raise fields.RequestError(400, str(error), field="image") from error
    finally:
      self._explaining.release()
    from_zero = heat_maps.METHODS[method].from_zero
    scale = heat_pictures.scale_of(made.map_YX, from_zero=from_zero)
    plain, heated = heat_pictures.pair(made.image_YXC, made.map_YX, scale)
    colours = PillowImage.fromarray(heat_pictures.legend(128)[None])
    return {
      "model": self._model.digest,
      "similarity": made.similarity,
      "method": method,
      "unit": made.unit,
      "low": scale.low,
      "high": scale.high,
      "picture": _png(plain),
      "heat": _png(heated),
      "legend": _png(colours),
    }

  def caption(self, image: bytes) -> dict[str, Any]:
    """Return a caption of a picture, of the likeliest id at each place."""
    self.writer.check(box_tokens.CAPTION)
    caption = self.writer.caption(self._row(image, "image"))
    return {
      "model": self._model.digest,
      "caption": caption.text,
      "is_whole": caption.is_whole,
      "num_dropped": caption.num_dropped,
    }

  def refer(self, image: bytes, text: str) -> dict[str, Any]:
    """Return the box of a text in pixels of a picture, and the picture.

    The box is None where the decoder wrote none.
    """
    self.writer.check(box_tokens.REFERRING)
    pixels_YXC = self._decoded(image, "image")
    try:
      row = self._protocol.apply(pixels_YXC)
    except ValueError as error:  # too long for the protocol
      raise fields.RequestError(400, str(error), field="image") from error
    share_4 = self.writer.box(row, text)
    box = None
    if share_4 is not None:
      box = places.to_pixels(self._protocol, pixels_YXC.shape, share_4)
    shown = PillowImage.fromarray(pixels_YXC)
    shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    return {
      "model": self._model.digest,
      "box": None if box is None else [*box],
      "width": pixels_YXC.shape[1],
      "height": pixels_YXC.shape[0],
      "picture": _png(shown),
    }

  def _thumbnail(self, row: int) -> str | None:
    assert self._gallery is not None
    data = self._gallery.thumbnail(row)
    return None if data is None else _data_url(data, thumbnails.MEDIA_TYPE)

  def _of_texts(self, texts: Sequence[str], name: str) -> list[np.ndarray]:
    """Return an embedding of each text; RequestError that names the field."""
    made = [self._texts.submit(text) for text in texts]
    return [*_finite((one.result() for one in made), name)]

  def _of_images(self, images: Sequence[bytes], name: str) -> list[np.ndarray]:
    """Return an embedding of each picture, as `_of_texts` does."""
    made = [self._images.submit(self._row(image, name)) for image in images]
    return [*_finite((one.result() for one in made), name)]

  def _row(self, image: bytes, name: str) -> row_batches.Row:
    try:
      return self._protocol.apply(self._decoded(image, name))
    except ValueError as error:  # too long for the protocol
      raise fields.RequestError(400, str(error), field=name) from error

  def _decoded(self, image: bytes, name: str) -> np.ndarray:
    """Return pixels; image_ops refuses a picture of too many before that."""
    with self._decoding:
      try:
        return image_ops.decode(image)
      except faults.ExampleError as error:
        raise fields.RequestError(
          400, f"{name} is no picture that can be used: {error}", field=name
        ) from error

  def _embed_fns(
    self, kind: str, sizes: Sequence[int]
  ) -> dict[int, Callable[[Rows], list[np.ndarray]]]:
    """Return the function that embeds a batch, for each size of batches."""
    loaded, made = self._model.loaded, {}
    for size in sizes:
      embedder = loaded.make_embedder(size)
      fn = embedder.images_fn if kind == "image" else embedder.texts_fn

      def embed(
        rows: Rows, embedder: Any = embedder, fn: Any = fn
      ) -> list[np.ndarray]:
        batch = row_batches.batches(iter(rows), len(rows))
        # A row that is not finite is its own request's fault.
        parts = embedder.stream(
          fn, loaded.params, batch, kind, is_checked=False
        )
        return [*np.concatenate([*parts])]

      # Sizes that the number of devices makes equal have one embedder.
      made[embedder.batch_size] = embed
    return made

  def _embed(self, kind: str, rows: Rows) -> list[np.ndarray]:
    """Return embeddings, by batches of sizes that are compiled."""
    fns = self._fns[kind]
    sizes = self._compiled[kind] or tuple(fns)
    made = []
    for start in range(0, len(rows), sizes[-1]):
      part = rows[start : start + sizes[-1]]
      made += fns[next(size for size in sizes if size >= len(part))](part)
    return made

  def _embed_texts(self, texts: list[str]) -> list[np.ndarray]:
    tokens_NL = self._tokenizer(texts)
    if self._compiled.get("short text"):
      pad_id, eot_id = self._text.pad_id, self._text.eot_id
      # The first padding token counts if it is the end of text too.
      after = _SHORT - (pad_id == eot_id)
      if not (tokens_NL[:, after:] != pad_id).any():
        return self._embed("short text", [*tokens_NL[:, :_SHORT]])
    return self._embed("text", [*tokens_NL])


def _finite(made: Iterator[np.ndarray], name: str) -> Iterator[np.ndarray]:
  for number, z_E in enumerate(made):
    if not np.isfinite(z_E).all():
      raise fields.RequestError(
        400, f"{name} {number} has an embedding that is not finite", field=name
      )
    yield z_E


def _has(method: str, model: python_model.Model) -> bool:
  try:
    heat_maps.check(method, model.loaded.config)
  except ValueError:
    return False
  return True


def _png(image: PillowImage.Image) -> str:
  file = io.BytesIO()
  image.save(file, "PNG")
  return _data_url(file.getvalue(), "image/png")


def _data_url(data: bytes, media_type: str) -> str:
  return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
