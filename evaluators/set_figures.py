"""Figures of a model on one set, as functions of its embeddings.

A record has the figures of the set, and beside them

  chance     figures that answers without a look at the images would have
  intervals  {figure: [low, high]}, 95 %; evaluators/metrics/intervals.py
  protocol   all that a figure depends on beside the model

Classes, groups and confused pairs, which are long, are details of their own,
and so is the outcome of each example, which comparisons of two models need.

Shape letters beside those of models/layers.py: N examples, A classes, M texts.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import (
  directions,
  embedding,
  group_figures,
  retrieval,
  zero_shot,
)
from evaluators.metrics import (
  classification,
  group_gaps,
  groups,
  intervals,
  multilabel,
  selection,
)
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib
from evaluators.sets.disk import items as items_lib

# Texts -> float32 [M, E], rows of length 1.
EmbedTexts = Callable[[Sequence[str]], np.ndarray]
# Version of the definitions of all figures here, in each protocol.
METRIC_VERSION = "1"
# Columns of metadata that put images into groups.
GROUP_FIELDS = (
  *("location", "hospital", "slide", "region", "country", "income_ds"),
  *("income_meta", "age", "gender", "race", "race_binary"),
)
# Classes up to which all confusions are kept.
_MOST_CONFUSION = 50


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


def evaluate(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> Outcome:
  """Return the outcome on a set of any kind of KINDS.

  Raises:
    ValueError: a label or an item of the set cannot be used.
  """
  return KINDS[opened.kind](opened, examples, embed_texts, mesh)


def _classification(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> Outcome:
  del mesh
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert labels.label_N is not None  # a set of this kind has labels
  zclass_AE = class_embeddings(
    opened.prompts(), len(opened.classes), embed_texts
  )
  answers = classification.judge(
    classification.similarities(examples.zimg_NE, zclass_AE), labels.label_N
  )
  figures = classification.figures(answers)
  bounds = intervals.of_answers(answers)
  right = {"top_1": answers.right(1), "top_5": answers.right(5)}
  table = classification.per_class(
    answers.label_N, answers.predicted_N, answers.num_classes
  )
  details: dict[str, Any] = {
    "per_class": [
      {"class": name, **{k: _plain(v[a]) for k, v in table.items()}}
      for a, name in enumerate(opened.classes)
    ],
    "most_confused": [
      row
      | {
        "label": opened.classes[int(row["label"])],
        "predicted": opened.classes[int(row["predicted"])],
      }
      for row in classification.most_confused(
        answers.label_N, answers.predicted_N
      )
    ],
  }
  if answers.num_classes <= _MOST_CONFUSION:
    details["confusion"] = [
      list(map(int, cell))
      for cell in zip(
        *classification.confusion(answers.label_N, answers.predicted_N),
        strict=True,
      )
    ]
  if labels.groups_NG is not None:
    by_field = {
      field: groups.by_group(right["top_1"], *_indexed(labels.groups_NG[:, g]))
      for g, field in enumerate(opened.fields)
      if field in GROUP_FIELDS
    }
    details["groups"] = {field: by.rows() for field, by in by_field.items()}
    details["gaps"] = {
      field: group_gaps.gap(by) for field, by in by_field.items()
    }
    worst = _worst(opened, labels.groups_NG, right)
    figures |= {name: value for name, (value, _) in worst.items()}
    bounds |= {name: bound for name, (_, bound) in worst.items()}
  by_attribute, more = group_figures.figures(
    *(opened, labels.attributes, right["top_1"]),
    (examples.zimg_NE, zclass_AE),
  )
  details |= more
  return Outcome(
    record={
      "kind": opened.kind,
      **figures,
      **by_attribute,
      "chance": classification.chance(labels.label_N, answers.num_classes),
      "intervals": bounds,
      "protocol": _protocol(opened)
      | {
        "ties": f"similarities within {classification.TIE:g}, at mid-rank",
        "classifier": (
          "mean of the normalised embeddings of a class's prompts, normalised"
        ),
      },
    },
    details=details,
    items={
      **{
        name: Items(examples.keys, right_N)
        for name, right_N in right.items()
        if name in figures
      },
      "mean_per_class": Items(
        examples.keys, right["top_1"], stratum_Q=answers.label_N
      ),
    },
  )


def _worst(
  opened: field_set.FieldSet,
  groups_NG: np.ndarray,
  right: Mapping[str, np.ndarray],
) -> dict[str, tuple[float, list[float]]]:
  """Return figure and interval of the worst group, of those with an image."""
  if opened.task is None or not opened.task.group_by:
    return {}
  group_N = groups_NG[:, opened.fields.index(opened.task.group_by)]
  worst = {}
  for name, right_N in right.items():
    by = groups.by_group(right_N, *_indexed(group_N))
    g = int(np.argmin(by.mean_G))
    bound = intervals.wilson(round(by.mean_G[g] * by.n_G[g]), by.n_G[g])
    worst[f"worst_group_{name}"] = float(by.mean_G[g]), bound.tolist()
  return worst


def _multilabel(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> Outcome:
  del mesh
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert labels.targets_NA is not None  # a set of this kind has targets
  zclass_AE = class_embeddings(
    opened.prompts(), len(opened.classes), embed_texts
  )
  score_NA = np.concatenate(
    [*classification.similarities(examples.zimg_NE, zclass_AE)]
  )
  figures = multilabel.figures(score_NA, labels.targets_NA)
  ap_A = multilabel.average_precisions(score_NA, labels.targets_NA)
  return Outcome(
    record={
      "kind": opened.kind,
      **{k: v for k, v in figures.items() if k != "chance"},
      "chance": {"mean_ap": figures["chance"]},
      "intervals": {
        "mean_ap": intervals.mean_ap(score_NA, labels.targets_NA).tolist()
      },
      "protocol": _protocol(opened),
    },
    details={
      "per_class": [
        {"class": name, "n": int(n), "average_precision": _plain(ap)}
        for name, n, ap in zip(
          opened.classes, labels.targets_NA.sum(axis=0), ap_A, strict=True
        )
      ]
    },
    items={},
  )


def _retrieval(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> Outcome:
  languages = sorted({code for texts in examples.texts for code in texts})
  record: dict[str, Any] = {"kind": opened.kind}
  items: dict[str, Items] = {}
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
      for k in retrieval.KS
    }
  record["protocol"] = _protocol(opened) | retrieval.protocol()
  return Outcome(record, {}, items)


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
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> tuple[dict[str, Any], dict[str, Items]]:
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
      *((f"R@{k}", outcome.rank_Q <= k) for k in retrieval.KS),
      ("MRR", 1 / outcome.rank_Q),
    ):
      items[f"{name}/{figure}"] = Items(
        keys[name], value_Q, outcome.image_Q if is_text else None
      )
  return figures, items


def _faces(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> Outcome:
  del mesh
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert labels.groups_NG is not None  # a set of this kind has attributes
  predicted = {}
  for objective, (classes, templates) in opened.objectives.items():
    prompts = field_set.prompts(classes, templates)
    zclass_AE = class_embeddings(prompts, len(classes), embed_texts)
    predicted[objective] = np.concatenate(
      [
        block.argmax(axis=1)
        for block in classification.similarities(examples.zimg_NE, zclass_AE)
      ]
    )
  attributes = {
    field: labels.groups_NG[:, g] for g, field in enumerate(opened.fields)
  }
  tables = groups.fairface(predicted, attributes, opened.objectives["race"][0])
  return Outcome(
    record={
      "kind": opened.kind,
      "num_examples": len(examples.keys),
      "tables": _rows(tables),
      "protocol": _protocol(opened),
    },
    details={},
    items={},
  )


def _selection(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> Outcome:
  del mesh
  listed = items_lib.read(opened.items)
  texts = list(dict.fromkeys(text for item in listed for text in item["texts"]))
  ztxt_ME = embed_texts(texts)
  row_of_text = {text: row for row, text in enumerate(texts)}
  row_of_image = {key: row for row, key in enumerate(examples.keys)}
  sims = selection.similarities(
    examples.zimg_NE,
    ztxt_ME,
    [[row_of_image[key] for key in item["images"]] for item in listed],
    [[row_of_text[text] for text in item["texts"]] for item in listed],
  )
  keys = tuple(str(number) for number in range(len(listed)))
  if len(listed[0]["texts"]) == 1:
    score_K = selection.jaccard(
      [sim_IT[:, 0] for sim_IT in sims], [item["right"][0] for item in listed]
    )
    size_K = np.array([len(item["images"]) for item in listed])
    figures = selection.winogavil(score_K, size_K)
    values = {"avg_jaccard_score": score_K}
    chance: dict[str, float] = {}
    bounds = {
      "avg_jaccard_score": intervals.clustered(score_K).tolist(),
    }
    if (is_in := size_K >= 10).any():
      bound = intervals.clustered(score_K[is_in])
      bounds["jaccard_score_10-12"] = bound.tolist()
  else:
    hits = selection.matched(np.stack(sims))
    shape = sims[0].shape
    if shape[0] == 1:  # the image of an item has no other to be told from
      hits = {"accuracy": hits["text"]}
    values = {name: hit_K.astype(float) for name, hit_K in hits.items()}
    figures = {name: float(hit_K.mean()) for name, hit_K in hits.items()}
    expected = selection.matched_chance(*shape)
    chance = {name: expected.get(name, expected["text"]) for name in hits}
    bounds = {
      name: intervals.wilson(int(hit_K.sum()), len(hit_K)).tolist()
      for name, hit_K in hits.items()
    }
  return Outcome(
    record={
      "kind": opened.kind,
      "num_items": len(listed),
      **figures,
      "chance": chance,
      "intervals": bounds,
      "protocol": _protocol(opened)
      | {"ties": f"similarities within {selection.TIE:g}, as wrong"},
    },
    details={},
    items={name: Items(keys, value_K) for name, value_K in values.items()},
  )


KINDS: Mapping[str, Callable[..., Outcome]] = {
  "selection": _selection,
  "classification": _classification,
  "multilabel": _multilabel,
  "retrieval": _retrieval,
  "faces": _faces,
}


def _rows(tables: Any) -> Any:
  """Return tables of groups as plain data."""
  if isinstance(tables, groups.Groups):
    return tables.rows()
  return {name: _rows(table) for name, table in tables.items()}


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


def _protocol(opened: field_set.FieldSet) -> dict[str, Any]:
  """Return what the figures of a set depend on beside model and data."""
  return {
    "metric_version": METRIC_VERSION,
    "similarity": "cosine, float32",
    "names": {**opened.origins},
    "canonicalisation": "none: class names as they are in their file",
    "num_templates": len(opened.templates),
  }


def _indexed(group_N: np.ndarray) -> tuple[np.ndarray, list[str]]:
  """Return groups as indices, and the number of each in the metadata."""
  values, index_N = np.unique(group_N, return_inverse=True)
  return index_N, [str(value) for value in values]


def _plain(value: Any) -> float | int | None:
  """Return a number for JSON, None for NaN."""
  number = np.asarray(value).item()
  return None if number != number else number
