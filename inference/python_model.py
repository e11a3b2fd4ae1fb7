"""Model for use from Python: `from inference import Model`.

Shape letters beside those of models/layers.py: N counts images, T texts, A
labels.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Self

import jax
import numpy as np
from PIL import Image as PillowImage

from evaluators import embedding, embedding_cache, zero_shot
from inference import model as model_lib
from inference import read_ahead, row_batches
from inference.explaining import heat_maps, heat_pictures
from input_pipeline import faults, model_inputs, tokenizers
from input_pipeline.images import image_ops, levels
from runtime import checks

# A path, encoded bytes, pixels uint8 [H, W, 3] or [H, W], or Pillow's image.
Image = str | os.PathLike[str] | bytes | np.ndarray | PillowImage.Image

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
    prepare = functools.partial(_prepared, protocol)
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
    return self._joined(self.stream_images(_listed(images)))

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
    pixels_YXC = _decoded(image, "image")
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


def _listed(images: Image | Iterable[Image]) -> Iterable[Image]:
  if isinstance(images, str | os.PathLike | bytes | PillowImage.Image):
    return [images]
  if isinstance(images, np.ndarray):
    return images if images.ndim > 3 else [images]
  return images


def _prepared(
  protocol: model_inputs.Protocol, numbered: tuple[int, Image]
) -> row_batches.Row:
  """Return an image as its tower takes it.

  Raises:
    ValueError: it cannot be used; the message names its path or its number.
  """
  number, image = numbered
  is_path = isinstance(image, str | os.PathLike)
  name = os.fspath(image) if is_path else f"image {number}"
  pixels_YXC = _decoded(image, name)
  try:
    return protocol.apply(pixels_YXC)
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error


def _decoded(image: Image, name: str) -> np.ndarray:
  """Return pixels uint8 [H, W, 3]; ValueError that names the image."""
  try:
    if isinstance(image, str | os.PathLike):
      return image_ops.decode(pathlib.Path(image).expanduser().read_bytes())
    if isinstance(image, bytes):
      return image_ops.decode(image)
    if isinstance(image, PillowImage.Image):
      return np.asarray(levels.to_rgb(image))
  except (faults.ExampleError, OSError) as error:
    raise ValueError(f"{name} is no image that can be read: {error}") from error
  pixels = np.asarray(image)
  if pixels.dtype == np.uint8 and pixels.ndim == 2:
    pixels = np.repeat(pixels[..., None], 3, axis=-1)
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
    raise ValueError(
      f"{name} must be uint8 [H, W, 3]; got {pixels.dtype} {list(pixels.shape)}"
    )
  return pixels
