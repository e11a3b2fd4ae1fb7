"""Figures of labelled sets: classes, several classes an image, faces.

Shape letters beside those of models/layers.py: N examples, A classes.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from evaluators import embedding
from evaluators.figures import group_figures, outcomes
from evaluators.metrics import (
  classification,
  group_gaps,
  groups,
  intervals,
  multilabel,
  seen_unseen,
)
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib

# Columns of metadata that put images into groups.
GROUP_FIELDS = (
  *("location", "hospital", "slide", "region", "country", "income_ds"),
  *("income_meta", "age", "gender", "race", "race_binary"),
)
# Protocol of a set that is judged by the model's head.
_BY_HEAD = {
  "similarity": "logit, float32",
  "classifier": "linear head of the run (model.head) on normalised embeddings",
}
# Classes up to which all confusions are kept.
_MOST_CONFUSION = 50


def of_classes(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the outcome on a set with one class an image."""
  del mesh
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert labels.label_N is not None  # a set of this kind has labels
  zimg_NE, zclass_AE = outcomes.classifier(
    opened, examples.zimg_NE, embed_texts
  )
  answers = classification.judge(
    classification.similarities(zimg_NE, zclass_AE), labels.label_N
  )
  figures = classification.figures(answers, opened.ks)
  bounds = intervals.of_answers(answers, opened.ks)
  right = {
    name: answers.right(k)
    for name, k in classification.tops(answers.num_classes, opened.ks).items()
  }
  table = classification.per_class(
    answers.label_N, answers.predicted_N, answers.num_classes
  )
  details: dict[str, Any] = {
    "per_class": [
      {"class": name, **{k: outcomes.plain(v[a]) for k, v in table.items()}}
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
    (zimg_NE, zclass_AE),
  )
  details |= more
  return outcomes.Outcome(
    record={
      "kind": opened.kind,
      **figures,
      **by_attribute,
      **_generalised(opened, answers),
      "chance": classification.chance(
        labels.label_N, answers.num_classes, opened.ks
      ),
      "intervals": bounds,
      "protocol": outcomes.protocol(opened)
      | {
        "ties": f"similarities within {classification.TIE:g}, at mid-rank",
        "classifier": (
          "mean of the normalised embeddings of a class's prompts, normalised"
        ),
      }
      | (_BY_HEAD if opened.is_by_head else {}),
    },
    details=details,
    items={
      **{
        name: outcomes.Items(examples.keys, right_N)
        for name, right_N in right.items()
      },
      "mean_per_class": outcomes.Items(
        examples.keys, right["top_1"], stratum_Q=answers.label_N
      ),
    },
  )


def of_several_classes(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the outcome on a set with several classes an image."""
  del mesh
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert labels.targets_NA is not None  # a set of this kind has targets
  zclass_AE = outcomes.class_embeddings(
    opened.prompts(), len(opened.classes), embed_texts
  )
  score_NA = np.concatenate(
    [*classification.similarities(examples.zimg_NE, zclass_AE)]
  )
  figures = multilabel.figures(score_NA, labels.targets_NA)
  ap_A = multilabel.average_precisions(score_NA, labels.targets_NA)
  return outcomes.Outcome(
    record={
      "kind": opened.kind,
      **{k: v for k, v in figures.items() if k != "chance"},
      "chance": {"mean_ap": figures["chance"]},
      "intervals": {
        "mean_ap": intervals.mean_ap(score_NA, labels.targets_NA).tolist()
      },
      "protocol": outcomes.protocol(opened),
    },
    details={
      "per_class": [
        {"class": name, "n": int(n), "average_precision": outcomes.plain(ap)}
        for name, n, ap in zip(
          opened.classes, labels.targets_NA.sum(axis=0), ap_A, strict=True
        )
      ]
    },
    items={},
  )


def of_faces(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the tables of FairFace and UTKFace."""
  del mesh
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert labels.groups_NG is not None  # a set of this kind has attributes
  predicted = {}
  for objective, (classes, templates) in opened.objectives.items():
    prompts = field_set.prompts(classes, templates)
    zclass_AE = outcomes.class_embeddings(prompts, len(classes), embed_texts)
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
  return outcomes.Outcome(
    record={
      "kind": opened.kind,
      "num_examples": len(examples.keys),
      "tables": _rows(tables),
      "protocol": outcomes.protocol(opened),
    },
    details={},
    items={},
  )


def _generalised(
  opened: field_set.FieldSet, answers: classification.Answers
) -> dict[str, Any]:
  """Return the figures on seen and unseen classes, where they are told apart.

  A sample of a set may have no image of the one or the other.
  """
  if not opened.unseen:
    return {}
  is_unseen_A = np.zeros(answers.num_classes, bool)
  is_unseen_A[list(opened.unseen)] = True
  try:
    return {"gzsl": seen_unseen.figures(answers, is_unseen_A)}
  except ValueError as error:
    return {"gzsl": {"not_run": str(error)}}


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


def _rows(tables: Any) -> Any:
  """Return tables of groups as plain data."""
  if isinstance(tables, groups.Groups):
    return tables.rows()
  return {name: _rows(table) for name, table in tables.items()}


def _indexed(group_N: np.ndarray) -> tuple[np.ndarray, list[str]]:
  """Return groups as indices, and the number of each in the metadata."""
  values, index_N = np.unique(group_N, return_inverse=True)
  return index_N, [str(value) for value in values]
