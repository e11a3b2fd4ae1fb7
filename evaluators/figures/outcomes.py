"""Outcomes of a model on a set: figures, details, and figures item by item."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import zero_shot
from evaluators.sets import field_set

# Texts -> float32 [M, E], rows of length 1.
EmbedTexts = Callable[[Sequence[str]], np.ndarray]
# Version of the definitions of all figures here, in each protocol.
METRIC_VERSION = "1"


@dataclasses.dataclass(frozen=True)
class Items:
  """Figure of each query or example, for comparisons of two models.

  Attributes:
    keys: of the queries or examples, each once.
    value_Q: figure of each.
    cluster_Q: image of each, where several belong to one.
    stratum_Q: label of each, where the figure is a mean over labels.
  """

  keys: Sequence[str]
  value_Q: np.ndarray
  cluster_Q: np.ndarray | None = None
  stratum_Q: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Result of a model on a set.

  Attributes:
    record: figures, chance, intervals and protocol, for results.json.
    details: tables of classes, groups and confused pairs, for JSON.
    items: figure -> that figure item by item.
  """

  record: dict[str, Any]
  details: dict[str, Any]
  items: Mapping[str, Items]


def class_embeddings(
  prompts: Sequence[str], num_classes: int, embed_texts: EmbedTexts
) -> np.ndarray:
  """Return a row of length 1 for each class: float32 [A, E].

  Args:
    prompts: as many of each class, in the order of FieldSet.prompts.
    num_classes: A.
    embed_texts: function of the model.
  """
  distinct = list(dict.fromkeys(prompts))
  row_of = {text: row for row, text in enumerate(distinct)}
  ztxt_PE = embed_texts(distinct)[[row_of[text] for text in prompts]]
  return zero_shot.class_embeddings(ztxt_PE, num_classes)


def classifier(
  opened: field_set.FieldSet, zimg_NE: np.ndarray, embed_texts: EmbedTexts
) -> tuple[np.ndarray, np.ndarray]:
  """Return rows of images and of classes, whose products are the scores.

  They are embeddings and those of prompts; of a set that is judged by the
  model's head, embeddings with a 1 behind them, and the head's rows.

  Args:
    opened: set with classes.
    zimg_NE: embedded images.
    embed_texts: function of the model.

  Raises:
    ValueError: the set is judged by a head that the model has not.
  """
  if not opened.is_by_head:
    zclass_AE = class_embeddings(
      opened.prompts(), len(opened.classes), embed_texts
    )
    return zimg_NE, zclass_AE
  if opened.head is None:
    raise ValueError(
      f"evaluate.sets.{opened.name}.head must be False for a model without a"
      " head (model.head.classes); got True"
    )
  return np.pad(zimg_NE, ((0, 0), (0, 1)), constant_values=1), opened.head


def protocol(opened: field_set.FieldSet) -> dict[str, Any]:
  """Return what the figures of a set depend on beside model and data."""
  return {
    "metric_version": METRIC_VERSION,
    "similarity": "cosine, float32",
    "names": {**opened.origins},
    "canonicalisation": "none: class names as they are in their file",
    "num_templates": opened.num_prompts,
  }


def plain(value: Any) -> float | int | None:
  """Return a number for JSON, None for NaN."""
  number = np.asarray(value).item()
  return None if number != number else number
