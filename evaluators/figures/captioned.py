"""Figures of sets with captions: both directions of retrieval, by language."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from evaluators import directions, embedding
from evaluators import retrieval as retrieval_lib
from evaluators.figures import outcomes
from evaluators.sets import field_set


def of_captions(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the outcome of retrieval, each language by itself."""
  languages = sorted({code for texts in examples.texts for code in texts})
  record: dict[str, Any] = {"kind": opened.kind}
  items: dict[str, outcomes.Items] = {}
  by_language = {}
  for language in languages:
    by_language[language], parts = _both_directions(
      examples, language, embed_texts, mesh
    )
    prefix = f"{language}/" if len(languages) > 1 else ""
    items |= {f"{prefix}{name}": part for name, part in parts.items()}
  if len(languages) == 1:
    record |= by_language[languages[0]]
  else:
    # Captions of one language are ranked among each other, as in XM3600.
    record["languages"] = by_language
    record["mean_of_languages"] = {
      f"{direction}/R@{k}": float(
        np.mean([tree[direction][f"R@{k}"] for tree in by_language.values()])
      )
      for direction in directions.NAMES
      for k in retrieval_lib.KS
    }
  record["protocol"] = outcomes.protocol(opened) | retrieval_lib.protocol()
  return outcomes.Outcome(record, {}, items)


@dataclasses.dataclass(frozen=True)
class Captions:
  """Captions in one language.

  Attributes:
    rows: row of each image that has one.
    texts: captions, those of an image together.
    owners: index in `rows` of each caption's image.
    image_keys: key of each image.
  """

  rows: Sequence[int]
  texts: Sequence[str]
  owners: Sequence[int]
  image_keys: Sequence[str]

  def keys(self) -> dict[str, Sequence[str]]:
    """Return the key of each query of both directions."""
    number: dict[int, int] = collections.Counter()
    caption_keys = []
    for owner in self.owners:
      caption_keys.append(f"{self.image_keys[owner]}, text {number[owner]}")
      number[owner] += 1
    return {
      directions.IMAGE_TO_TEXT: tuple(self.image_keys),
      directions.TEXT_TO_IMAGE: tuple(caption_keys),
    }


def captions(examples: embedding.Examples, language: str) -> Captions:
  """Return the captions of examples in a language."""
  by_row = [texts.get(language, ()) for texts in examples.texts]
  rows = [row for row, texts in enumerate(by_row) if texts]
  return Captions(
    rows,
    [text for row in rows for text in by_row[row]],
    [i for i, row in enumerate(rows) for _ in by_row[row]],
    [examples.keys[row] for row in rows],
  )


def _both_directions(
  examples: embedding.Examples,
  language: str,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> tuple[dict[str, Any], dict[str, outcomes.Items]]:
  """Return figures and items of the images with captions in a language."""
  here = captions(examples, language)
  distinct = list(dict.fromkeys(here.texts))
  row_of = {text: row for row, text in enumerate(distinct)}
  judged = directions.judge(
    examples.zimg_NE[here.rows],
    embed_texts(distinct)[[row_of[text] for text in here.texts]],
    here.texts,
    mesh,
    owners=here.owners,
  )
  keys = here.keys()
  figures: dict[str, Any] = {
    "num_candidates": len(here.rows),
    "num_texts": len(here.texts),
  }
  items = {}
  for name, outcome in judged.items():
    figures[name] = {
      **outcome.figures(),
      "chance": outcome.chance(),
      "intervals": outcome.intervals(),
    }
    is_text = name == directions.TEXT_TO_IMAGE
    for figure, value_Q in (
      *((f"R@{k}", outcome.rank_Q <= k) for k in retrieval_lib.KS),
      ("MRR", 1 / outcome.rank_Q),
    ):
      items[f"{name}/{figure}"] = outcomes.Items(
        keys[name], value_Q, outcome.image_Q if is_text else None
      )
  return figures, items
