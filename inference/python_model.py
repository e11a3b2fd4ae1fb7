"""Model for use from Python: `from inference import Model`.

Shape letters beside those of models/layers.py: N counts images, T texts, A
labels.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Self

import jax
import numpy as np
from PIL import Image as PillowImage

from evaluators import embedding, embedding_cache, row_batches, zero_shot
from evaluators.generating import captioner as captioner_lib
from evaluators.generating import places, settings
from inference import given_images, read_ahead
from inference import model as model_lib
from inference.explaining import heat_maps, heat_pictures
from input_pipeline import model_inputs, tokenizers
from runtime import checks
from runtime.storage import bucket_path
from training.run import workdir

Image = given_images.Image

MapsFn = Callable[[np.ndarray, np.ndarray], heat_maps.Maps]

PLAIN = ("{}",)


@dataclasses.dataclass(frozen=True)
class Classification:
  """Labels of images.

  Attributes:
    labels: A labels.
    probability_NA: float32; with a softmax loss each row sums to 1, with a
      sigmoid loss each value is independent of the other labels.
    similarity_NA: cosine similarities, float32.
  """

  labels: tuple[str, ...]
  probability_NA: np.ndarray
  similarity_NA: np.ndarray

  def top(self, num: int = 1) -> list[list[tuple[str, float]]]:
    """Return each image's most probable labels, best first.

    Args:
      num: labels of an image, cut to the number that there are.

    Returns:
      (label, probability) of each; of equal ones the first.
    """
    # By similarity: probabilities close to 0 or 1 round to the same number.
    order_NA = np.argsort(-self.similarity_NA, axis=1, kind="stable")
    return [
      [(self.labels[a], float(self.probability_NA[n, a])) for a in order[:num]]
      for n, order in enumerate(order_NA)
    ]


@dataclasses.dataclass(frozen=True)
class Explanation:
  """Heat map of an image for a text.

  Attributes:
    image_YXC: uint8 [H, W, 3], what the model sees of the image.
    map_YX: float32, a value for each pixel, not scaled.
    similarity: cosine similarity of image and text.
    method: key of heat_maps.METHODS.
    unit: phrase for the map's values.
  """

  image_YXC: np.ndarray
  map_YX: np.ndarray
  similarity: float
  method: str
  unit: str

  def picture(self) -> PillowImage.Image:
    """Draw the map over the image."""
    from_zero = heat_maps.METHODS[self.method].from_zero
    scale = heat_pictures.scale_of(self.map_YX, from_zero=from_zero)
    drawn = heat_pictures.overlay(self.image_YXC, self.map_YX, scale)
    return PillowImage.fromarray(drawn)


class Model:
  """Dual encoder that embeds, compares, classifies and explains.

  Images are paths, encoded bytes, arrays uint8 [H, W, 3], or Pillow's images;
  they are prepared as the model's own image protocol says. Embeddings are
  float32 rows of length 1. An image that cannot be decoded is a ValueError that
  names it.
  """

  def __init__(self, loaded: model_lib.Model, batch_size: int):
    checks.at_least("batch_size", batch_size, 1)
    self.loaded = loaded
    self._embedder = loaded.make_embedder(batch_size)
    self._maps_fns: dict[str, MapsFn] = {}

  @classmethod
  def load(
    cls,
    path: str | os.PathLike[str],
    *,
    dtype: str = "",
    batch_size: int = row_batches.BATCH_SIZE,
    mesh: jax.sharding.Mesh | None = None,
  ) -> Self:
    """Read a run, an exported folder or published weights.

    Args:
      path: folder of a run (its selected or newest checkpoint), a folder or
        file of weights of any family that models/pretrained reads, or
        "hf://owner/name[@revision]".
      dtype: "bfloat16" or "float32" of the layers; "" for the model's own.
      batch_size: rows computed at once, raised to a multiple of the devices.
      mesh: devices; None for all.

    Raises:
      FileNotFoundError, ValueError: no model that can be read is there.
      workdir.WorkdirError: the run has no checkpoint.
    """
    loaded = model_lib.load(os.fspath(path), mesh)
    if dtype:
      config = dataclasses.replace(loaded.config, dtype=dtype)
      config.check()
      loaded = dataclasses.replace(loaded, config=config)
    return cls(loaded, batch_size)

  def __repr__(self) -> str:
    return f"Model({self.loaded.path!r}, family={self.loaded.family!r})"

  @property
  def embed_dim(self) -> int:
    """Size of an embedding."""
    return self.loaded.config.embed_dim

  @property
  def scale(self) -> float:
    """Factor of cosine similarities in the logits."""
    return self.loaded.scale

  @property
  def bias(self) -> float:
    """Summand of the logits."""
    return self.loaded.bias

  @property
  def loss(self) -> str:
    """Kind of loss of the model: "softmax" or "sigmoid"."""
    return self.loaded.loss

  @functools.cached_property
  def digest(self) -> str:
    """Digest of weights and config; models of equal embeddings share it."""
    return embedding_cache.model_digest(self.loaded.config, self.loaded.params)

  @functools.cached_property
  def image_protocol(self) -> model_inputs.Protocol:
    """Rules by which images are prepared."""
    self._check_tower("image")
    return self.loaded.make_image_protocol()

  @functools.cached_property
  def tokenizer(self) -> tokenizers.Tokenizer:
    """Function of texts to tokens."""
    self._check_tower("text")
    return self.loaded.make_tokenizer()

  def stream_images(self, images: Iterable[Image]) -> Iterator[np.ndarray]:
    """Yield embeddings batch by batch; the images may be without end.

    Args:
      images: fetched a few batches ahead, decoded by threads.

    Yields:
      float32 [b, E], b rows at most the batch size, in order.

    Raises:
      ValueError: an image cannot be used.
    """
    protocol = self.image_protocol
    prepare = functools.partial(given_images.prepared, protocol)
    ahead = 2 * self._embedder.batch_size

    def rows() -> Generator[row_batches.Row]:
      with read_ahead.mapped(prepare, enumerate(images), ahead) as prepared:
        yield from prepared

    return self.stream_rows(rows())

  def stream_rows(
    self, rows: Iterator[row_batches.Row]
  ) -> Iterator[np.ndarray]:
    """Yield embeddings of images that `image_protocol` prepared, by batch."""
    return self._stream(self._embedder.images_fn, rows, "image")

  def stream_texts(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield embeddings batch by batch, as `stream_images` does."""
    tokenizer = self.tokenizer

    def rows() -> Generator[row_batches.Row]:
      for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
          raise ValueError(
            f"text {number} must be a str with a letter; got {text!r}"
          )
        yield tokenizer([text])[0]

    return self._stream(self._embedder.texts_fn, rows(), "text")

  def embed_images(self, images: Image | Iterable[Image]) -> np.ndarray:
    """Return embeddings of images: float32 [N, E] of length 1.

    Args:
      images: one image stands for a list of one.

    Raises:
      ValueError: an image cannot be used.
    """
    return self._joined(self.stream_images(given_images.listed(images)))

  def embed_texts(self, texts: str | Iterable[str]) -> np.ndarray:
    """Return embeddings of texts: float32 [T, E] of length 1."""
    listed = [texts] if isinstance(texts, str) else texts
    return self._joined(self.stream_texts(listed))

  def similarity(
    self, images: Image | Iterable[Image], texts: str | Iterable[str]
  ) -> np.ndarray:
    """Return cosine similarities of all images with all texts: [N, T]."""
    return self.embed_images(images) @ self.embed_texts(texts).T

  def classify(
    self,
    images: Image | Iterable[Image],
    labels: Sequence[str],
    templates: Sequence[str] = PLAIN,
  ) -> Classification:
    """Label images by texts alone.

    Args:
      images: one or more.
      labels: names of the classes.
      templates: texts with {} in place of a label. The embedding of a label is
        their mean, normalised (arXiv 2103.00020, section 3.1.4).

    Raises:
      ValueError: an image, a label or a template cannot be used.
    """
    zclass_AE = self.embed_labels(labels, templates)
    sim_NA = self.embed_images(images) @ zclass_AE.T
    return Classification(tuple(labels), self.probabilities(sim_NA), sim_NA)

  def embed_labels(
    self, labels: Sequence[str], templates: Sequence[str] = PLAIN
  ) -> np.ndarray:
    """Return an embedding of each label: float32 [A, E] of length 1.

    Raises:
      ValueError: there is no label, one is there twice, or a template has not
        one {}.
    """
    check_labels(labels, templates)
    prompts = [x.replace("{}", label) for label in labels for x in templates]
    return zero_shot.class_embeddings(self.embed_texts(prompts), len(labels))

  def probabilities(self, similarity_NA: np.ndarray) -> np.ndarray:
    """Return probabilities of labels by the model's own loss: float32 [N, A].

    Args:
      similarity_NA: cosine similarities.
    """
    # In float64: the scale multiplies rounding, and exp of it.
    logit_NA = self.scale * similarity_NA.astype(np.float64) + self.bias
    if self.loss == "sigmoid":
      return np.exp(-np.logaddexp(0, -logit_NA)).astype(np.float32)
    exp_NA = np.exp(logit_NA - logit_NA.max(axis=1, keepdims=True))
    return (exp_NA / exp_NA.sum(axis=1, keepdims=True)).astype(np.float32)

  def explain(
    self, image: Image, text: str | np.ndarray, method: str = "windows"
  ) -> Explanation:
    """Return the parts of an image that make it like a text.

    Args:
      image: one image.
      text: one text, or its embedding [E].
      method: key of heat_maps.METHODS.

    Raises:
      ValueError: the model has no such maps, or the image cannot be used.
    """
    checks.one_of("method", method, heat_maps.METHODS)
    heat_maps.check(method, self.loaded.config)
    pixels_YXC = given_images.decoded(image, "image")
    if method != heat_maps.TILES:
      pixels_YXC = model_inputs.as_seen(self.image_protocol, pixels_YXC)
    ztxt_TE = self.embed_texts(text) if isinstance(text, str) else text[None]
    maps = self._maps_fn(method)(pixels_YXC, ztxt_TE)
    return Explanation(
      image_YXC=pixels_YXC if maps.image_YXC is None else maps.image_YXC,
      map_YX=np.asarray(maps.map_TYX[0], np.float32),
      similarity=float(maps.sim_T[0]),
      method=method,
      unit=heat_maps.METHODS[method].unit,
    )

  @property
  def has_decoder(self) -> bool:
    """Whether a decoder of texts learned beside the model."""
    if self.loaded.family != model_lib.RUN:
      return False
    own = workdir.read_config(bucket_path.make(self.loaded.path))
    return own is not None and (own.decoding.is_on or own.captioning.is_on)

  @functools.cached_property
  def captioner(self) -> captioner_lib.Captioner:
    """Writer of texts and boxes, whose decoder is read when it is first used.

    Raises:
      ValueError: the model is no run.
      workdir.WorkdirError: the run has no decoder, or has gone on since the
        model was read.
    """
    loaded = self.loaded
    if loaded.family != model_lib.RUN:
      raise ValueError(
        f"{loaded.path} has no decoder, which writes texts; expected a run that"
        " was trained with config.decoding.weight, or config.captioning.weight,"
        " above 0 (docs/captioning.md)"
      )
    path = bucket_path.make(loaded.path)
    model, decoder = model_lib.load_captioner(path, loaded.mesh)
    if model.step != loaded.step:
      raise workdir.WorkdirError(
        f"{loaded.path} has gone on: its decoder is of step {model.step}, and"
        f" the model that was read is of step {loaded.step}; load it again"
      )
    # The towers are not kept twice.
    size = self._embedder.batch_size
    return captioner_lib.Captioner(loaded, decoder, size)

  def caption(
    self,
    images: Image | Iterable[Image],
    *,
    num_beams: int = 1,
    top_p: float | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
  ) -> list[str]:
    """Return captions of images by the decoder of a run.

    Args:
      images: one image stands for a list of one.
      num_beams: beams of a beam search; 1 for the most probable id at each
        place.
      top_p: mass of the nucleus that ids are drawn from; None draws nothing.
      seed: seed of the draws, which depend on an image's number too.
      max_tokens: most ids of a caption, the end included; None for as many as
        the decoder was taught.

    Raises:
      ValueError: an image or a setting cannot be used, or no decoder is there.
      workdir.WorkdirError: as `captioner`.
    """
    chosen = settings.Settings(num_beams, top_p, seed, max_tokens)
    writer, protocol = self.captioner, self.image_protocol
    prepare = functools.partial(given_images.prepared, protocol)
    numbered = enumerate(given_images.listed(images))
    ahead = 2 * self._embedder.batch_size
    with read_ahead.mapped(prepare, numbered, ahead) as rows:
      requests = map(writer.captioning, rows)
      return [
        writer.caption_of(written).text
        for some in writer.stream(requests, chosen)
        for written in some
      ]

  def refer(self, image: Image, text: str) -> places.Box | None:
    """Return the box that a text refers to, by the decoder of a run.

    Args:
      image: one image.
      text: text, whose end is cut off where the decoder was taught fewer ids.

    Returns:
      (left, top, right, bottom) in pixels of the decoded image, within the part
      that the image protocol leaves; None where the decoder wrote no box.

    Raises:
      ValueError, workdir.WorkdirError: as `caption`.
    """
    if not isinstance(text, str) or not text.strip():
      raise ValueError(f"text must be a str with a letter; got {text!r}")
    writer, protocol = self.captioner, self.image_protocol
    pixels_YXC = given_images.decoded(image, given_images.name_of(image, 0))
    request = writer.referring(protocol.apply(pixels_YXC), text)
    (written,) = next(writer.stream(iter([request]), settings.Settings()))
    share_4 = writer.box_of(written)
    if share_4 is None:
      return None
    return places.to_pixels(protocol, pixels_YXC.shape, share_4)

  def answer(self, image: Image, question: str) -> str:
    """Return the answer to a question about an image, by a run's decoder.

    The likeliest id is taken at each place; "" where the decoder wrote none.

    Args:
      image: one image.
      question: text, whose end is cut off behind half of the ids that the
        decoder was taught.

    Raises:
      ValueError: as `caption`, or the decoder learned no answers.
      workdir.WorkdirError: as `captioner`.
    """
    if not isinstance(question, str) or not question.strip():
      raise ValueError(
        f"question must be a str with a letter; got {question!r}"
      )
    writer, protocol = self.captioner, self.image_protocol
    pixels_YXC = given_images.decoded(image, given_images.name_of(image, 0))
    request = writer.asking(protocol.apply(pixels_YXC), question)
    (written,) = next(writer.stream(iter([request]), settings.Settings()))
    return writer.caption_of(written).text

  def caption_region(self, image: Image, box: Sequence[float]) -> str:
    """Return the text of a box in an image, by the decoder of a run.

    Args:
      image: one image.
      box: (left, top, right, bottom) in pixels of the decoded image, cut off
        where the image protocol crops.

    Raises:
      ValueError: as `caption`; the box has no area, or lies outside of the
        image or of the part that the protocol leaves.
      workdir.WorkdirError: as `captioner`.
    """
    writer, protocol = self.captioner, self.image_protocol
    pixels_YXC = given_images.decoded(image, given_images.name_of(image, 0))
    share_4 = places.to_shares(protocol, pixels_YXC.shape, box)
    request = writer.grounded(protocol.apply(pixels_YXC), share_4)
    (written,) = next(writer.stream(iter([request]), settings.Settings()))
    return writer.caption_of(written).text

  def _maps_fn(self, method: str) -> MapsFn:
    if method not in self._maps_fns:
      size = self._embedder.batch_size
      self._maps_fns[method] = heat_maps.make_fn(
        method, self.loaded, self.image_protocol, size
      )
    return self._maps_fns[method]

  def _stream(
    self,
    fn: embedding.EmbedFn,
    rows: Iterator[row_batches.Row],
    kind: str,
  ) -> Iterator[np.ndarray]:
    batches = row_batches.batches(rows, self._embedder.batch_size)
    return self._embedder.stream(fn, self.loaded.params, batches, kind)

  def _joined(self, parts: Iterator[np.ndarray]) -> np.ndarray:
    none_NE = np.zeros((0, self.embed_dim), np.float32)
    return np.concatenate([none_NE, *parts])

  def _check_tower(self, name: str) -> None:
    if getattr(self.loaded.config, name) is None:
      raise ValueError(f"{self.loaded.path} has no {name} tower")


def check_labels(labels: Sequence[str], templates: Sequence[str]) -> None:
  """Raise ValueError where labels or templates cannot be used."""
  if isinstance(labels, str) or not labels:
    raise ValueError(f"labels must be a list of at least one; got {labels!r}")
  twice = [x for x, group in itertools.groupby(sorted(labels)) if [*group][1:]]
  if twice:
    raise ValueError(f"labels must differ; got {twice[0]!r} twice")
  if isinstance(templates, str) or not templates:
    raise ValueError(
      f"templates must be a list of at least one; got {templates!r}"
    )
  for template in templates:
    if template.count("{}") != 1:
      raise ValueError(f"templates must each have one {{}}; got {template!r}")
