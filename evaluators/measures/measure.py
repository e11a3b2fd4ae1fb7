"""Embeddings of a set, and of what measures make of it."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import embedding
from evaluators.figures import outcomes
from evaluators.probes import episodes as episodes_lib
from evaluators.probes import examples as examples_lib
from evaluators.probes import tuned_episodes
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib

# Features that probes read: the embedding, or the tower's before it.
EMBEDDING, TRUNK = FEATURES = ("embedding", "trunk")
# Function of uint8 [Y, X, 3] and an image's key to an image of that shape.
Change = Callable[[np.ndarray, str], np.ndarray]


class NotTaken(ValueError):
  """Exception for a set whose examples are too few for a measure."""


@dataclasses.dataclass(frozen=True)
class Measured:
  """Result of a measure.

  Attributes:
    record: figures, intervals, chance and protocol, for results.json.
    items: figure -> that figure item by item, for comparisons of two models.
  """

  record: dict[str, Any]
  items: Mapping[str, outcomes.Items] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Part:
  """Features of a split.

  Attributes:
    examples: keys and captions, and features in place of embeddings.
    opened: set whose labels the captions are.
    data: digest of the split's images and captions.
  """

  examples: embedding.Examples
  opened: field_set.FieldSet
  data: str

  def labelled(self) -> examples_lib.Examples:
    """Return the features with their labels, as probes take them."""
    keys = self.examples.keys
    labels = labels_lib.of_examples(self.opened, self.examples.texts, keys)
    assert labels.label_N is not None  # a set of this kind has labels
    digests = [
      hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys
    ]
    return examples_lib.Examples(
      self.examples.zimg_NE,
      labels.label_N,
      np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
    )


@dataclasses.dataclass(frozen=True)
class Context:
  """A set of which a measure is taken.

  Attributes:
    opened: the set.
    examples: its embedded images.
    embed_texts: function of the model.
    mesh: devices that similarities are computed on.
    scale: factor of cosine similarities in the model's logits.
    features: name of FEATURES.
    train: function that returns features of the training split.
    test: function that returns features of the set.
    changed: function of a name and a Change to the embeddings of the changed
      images; equal names mean equal changes.
    image_side: side of the images in pixels, or of a square of as many.
    tower: function that returns the image tower, and the images of `test`.
    frost_textures: folder of the textures of frost; None leaves frost out.
    shots: shots of a class in few_shot and in episodes; None for each one's
      own numbers.
    num_episodes: episodes of each number of shots.
  """

  opened: field_set.FieldSet
  examples: embedding.Examples
  embed_texts: outcomes.EmbedTexts
  mesh: jax.sharding.Mesh
  scale: float
  features: str
  train: Callable[[], Part]
  test: Callable[[], Part]
  changed: Callable[[str, Change], embedding.Examples]
  image_side: int
  tower: Callable[[], tuned_episodes.Tower]
  frost_textures: pathlib.Path | None = None
  shots: tuple[int, ...] | None = None
  num_episodes: int = episodes_lib.NUM_EPISODES

  def label_N(self) -> np.ndarray:
    """Return the label of each example: int [N]."""
    labels = labels_lib.of_examples(
      self.opened, self.examples.texts, self.examples.keys
    )
    assert labels.label_N is not None  # a set of this kind has labels
    return labels.label_N

  def classifier(self, prompts: Sequence[str] = ()) -> np.ndarray:
    """Return a row of length 1 for each class: float32 [A, E].

    Args:
      prompts: prompts in the order of `opened.prompts()`, by default those.

    Raises:
      ValueError: the set is judged by the model's head.
    """
    if self.opened.is_by_head:
      raise ValueError(
        f"evaluate.sets.{self.opened.name} is judged by the run's head, and"
        " this measure takes classes by their prompts; it needs head=False"
      )
    return outcomes.class_embeddings(
      prompts or self.opened.prompts(),
      len(self.opened.classes),
      self.embed_texts,
    )
