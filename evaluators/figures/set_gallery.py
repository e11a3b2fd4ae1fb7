"""Galleries of sets: examples with their answers, worst and at even distances.

The worst examples of a labelled set are those of the lowest margin: the
similarity of the right class less that of the best wrong one. Where several
classes are right, it is the lowest of the right less the best of the wrong.
Faces have panels for each of their questions; of race, an answer is right where
it is the race of the label, though the tables ask for white or not alone.

Shape letters beside those of models/layers.py: N examples, A classes, M texts.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from evaluators import directions, embedding
from evaluators.figures import (
  captioned,
  classified,
  gallery,
  item_gallery,
  outcomes,
  placed,
)
from evaluators.metrics import classification, geolocation
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib
from input_pipeline import evaluation_split

# Classes that an example is shown with.
_NUM_ANSWERS = 5


@dataclasses.dataclass(frozen=True)
class Counts:
  """Number of entries in the panels of a set.

  Attributes:
    labelled: examples of a panel of a labelled set, or items.
    queries: queries of a panel of a retrieval set.
    answers: answers to a query.
  """

  labelled: int = 10
  queries: int = 5
  answers: int = _NUM_ANSWERS


def counts(num_sets: int) -> Counts:
  """Return counts that keep the page of this many sets under 3 MB.

  >>> counts(40)
  Counts(labelled=4, queries=1, answers=4)
  """
  if num_sets <= 4:
    return Counts()
  labelled = min(max(160 // num_sets, 4), 10)
  return Counts(labelled, max(1, labelled // 3), 4)


def image(split: evaluation_split.Split, row: int) -> np.ndarray | None:
  """Return an image as people see it; None where it cannot be read again."""
  try:
    return split.image(row)
  except (OSError, ValueError):  # faults of an example are ValueErrors
    return None


def panels(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  *,
  outcome: outcomes.Outcome,
  image_fn: gallery.ImageFn,
  mesh: jax.sharding.Mesh,
  count: Counts = Counts(),
) -> list[gallery.Panel]:
  """Return the panels of a set.

  Args:
    opened: the set.
    examples: its embedded images.
    embed_texts: function of the model.
    outcome: its figures, with the outcome of each query of a retrieval set.
    image_fn: function of a row of `examples`.
    mesh: all devices.
    count: entries of a panel.
  """
  images = gallery.Images(
    opened.name, examples.keys, image_fn, examples.zimg_NE
  )
  if opened.kind == "retrieval":
    return _retrieval(
      images, examples, embed_texts, outcome=outcome, mesh=mesh, count=count
    )
  if opened.kind == "selection":
    return item_gallery.panels(images, opened, embed_texts, count.labelled)
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  images = dataclasses.replace(images, note_fn=_notes(opened, labels))
  if opened.kind == "faces":
    return _faces(images, opened, embed_texts, labels, count.labelled)
  if labels.targets_NA is None:
    return answered(opened, labels, images, embed_texts, count.labelled)
  zclass_AE = outcomes.class_embeddings(
    opened.prompts(), len(opened.classes), embed_texts
  )
  return _multilabel(
    images, zclass_AE, opened.classes, labels.targets_NA, count.labelled
  )


def answered(
  opened: field_set.FieldSet,
  labels: labels_lib.Labels,
  images: gallery.Images,
  embed_texts: outcomes.EmbedTexts,
  num_entries: int = 10,
) -> list[gallery.Panel]:
  """Return panels of a set with one right answer for an image.

  The right answer to an image with coordinates is the city nearest to it.
  """
  if opened.places is not None:
    assert labels.degrees_N2 is not None  # a set of this kind has coordinates
    zcity_CE = placed.city_embeddings(opened.places, embed_texts)
    city_N = geolocation.nearest(
      labels.degrees_N2, opened.places.gazetteer.degrees_C2
    )
    names = opened.places.city_names()
    return labelled(images, zcity_CE, names, city_N, num_entries)
  assert labels.label_N is not None  # a set of this kind has labels
  zimg_NE, zclass_AE = outcomes.classifier(opened, images.zimg_NE, embed_texts)
  images = dataclasses.replace(images, zimg_NE=zimg_NE)
  return labelled(
    images, zclass_AE, opened.classes, labels.label_N, num_entries
  )


def labelled(
  images: gallery.Images,
  zclass_AE: np.ndarray,
  classes: Sequence[str],
  label_N: np.ndarray,
  num_entries: int = 10,
) -> list[gallery.Panel]:
  """Return the worst examples of a classification, and a sample.

  Args:
    images: examples.
    zclass_AE: embeddings of the classes, of length 1.
    classes: their names.
    label_N: class of each example.
    num_entries: entries of a panel.
  """
  label_N = np.asarray(label_N, np.int64)
  margins: list[np.ndarray] = []

  def blocks() -> Iterator[np.ndarray]:
    start = 0
    for score_nA in classification.similarities(images.zimg_NE, zclass_AE):
      label_n1 = label_N[start : start + len(score_nA), None]
      start += len(score_nA)
      own_n = np.take_along_axis(score_nA, label_n1, axis=1)[:, 0]
      wrong_nA = score_nA.copy()
      np.put_along_axis(wrong_nA, label_n1, -np.inf, axis=1)
      margins.append(own_n - wrong_nA.max(axis=1))
      yield score_nA

  rank_N = classification.judge(blocks(), label_N).rank_N
  margin_N = np.concatenate(margins)
  targets = _Targets(zclass_AE, classes, lambda row: label_N[[row]])
  even, _ = gallery.choose(images.keys, rank_N, num_entries, 0)
  _, worst = gallery.choose(images.keys, -margin_N, 0, num_entries)
  if len(classes) == 1:  # there is no wrong answer
    worst = []
  return gallery.by_margin(
    images,
    [targets.entry(images, x, rank_N[x]) for x in worst],
    [targets.entry(images, x, rank_N[x]) for x in even],
    margins=margin_N[worst],
    num_queries=len(label_N),
    num_candidates=len(classes),
  )


def _faces(
  images: gallery.Images,
  opened: field_set.FieldSet,
  embed_texts: outcomes.EmbedTexts,
  labels: labels_lib.Labels,
  num_entries: int,
) -> list[gallery.Panel]:
  """Return panels of each question whose answer the labels have."""
  assert labels.groups_NG is not None  # a set of this kind has attributes
  made = []
  for question, (classes, templates) in opened.objectives.items():
    if question not in opened.fields:  # as toxic
      continue
    zclass_AE = outcomes.class_embeddings(
      field_set.prompts(classes, templates), len(classes), embed_texts
    )
    label_N = labels.groups_NG[:, opened.fields.index(question)]
    # Each question has panels of its own.
    panels = labelled(
      images, zclass_AE, classes, label_N, max(2, num_entries // 2)
    )
    made += [dataclasses.replace(panel, part=question) for panel in panels]
  return made


def _multilabel(
  images: gallery.Images,
  zclass_AE: np.ndarray,
  classes: Sequence[str],
  targets_NA: np.ndarray,
  num_entries: int,
) -> list[gallery.Panel]:
  """Return panels of the images that have a class."""
  is_asked = targets_NA.any(axis=1) & ~targets_NA.all(axis=1)
  rows = np.flatnonzero(is_asked).tolist()
  margin_n, rank_n = np.empty(len(rows)), np.empty(len(rows))
  for start in range(0, len(rows), 1024):
    part = rows[start : start + 1024]
    score_nA = images.zimg_NE[part] @ zclass_AE.T
    is_in = targets_NA[part]
    lowest_n = np.where(is_in, score_nA, np.inf).min(axis=1)
    wrong_nA = np.where(is_in, -np.inf, score_nA)
    margin_n[start : start + len(part)] = lowest_n - wrong_nA.max(axis=1)
    rank_n[start : start + len(part)] = 1 + (wrong_nA >= lowest_n[:, None]).sum(
      axis=1
    )
  keys = [images.keys[row] for row in rows]
  targets = _Targets(
    zclass_AE, classes, lambda row: np.flatnonzero(targets_NA[row])
  )
  even, _ = gallery.choose(keys, rank_n, num_entries, 0)
  _, worst = gallery.choose(keys, -margin_n, 0, num_entries)
  return gallery.by_margin(
    images,
    [targets.entry(images, rows[x], rank_n[x]) for x in worst],
    [targets.entry(images, rows[x], rank_n[x]) for x in even],
    margins=margin_n[worst],
    num_queries=len(rows),
    num_candidates=len(classes),
  )


@dataclasses.dataclass(frozen=True)
class _Targets:
  """Classes, and which of them are right for a row."""

  zclass_AE: np.ndarray
  classes: Sequence[str]
  right_fn: Callable[[int], np.ndarray]

  def entry(
    self, images: gallery.Images, row: int, rank: float
  ) -> gallery.Entry:
    """Return an example with its best classes."""
    right = self.right_fn(row)
    score_A = self.zclass_AE @ images.zimg_NE[row]
    is_right = np.zeros(len(score_A), bool)
    is_right[right] = True
    order = np.argsort(-score_A, kind="stable")

    def answer(a: int) -> gallery.Answer:
      return gallery.Answer(
        self.classes[a], None, float(score_A[a]), bool(is_right[a])
      )

    return gallery.Entry(
      text=", ".join(self.classes[a] for a in right),
      image_YXC=images.image_fn(row),
      rank=float(rank),
      answers=tuple(answer(a) for a in order[:_NUM_ANSWERS]),
      right=answer(next(a for a in order if is_right[a])),
      note=images.note_fn(row),
    )


def _retrieval(
  images: gallery.Images,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  *,
  outcome: outcomes.Outcome,
  mesh: jax.sharding.Mesh,
  count: Counts,
) -> list[gallery.Panel]:
  """Return panels in the first language, or English, and in the worst one."""
  by_language: Mapping[str, dict] = outcome.record.get("languages", {})
  chosen = [""]
  if by_language:
    chosen = ["en" if "en" in by_language else min(by_language)]
    score = {
      language: tree[directions.TEXT_TO_IMAGE]["R@1"]
      for language, tree in by_language.items()
      if language not in chosen
    }
    chosen += [min(score, key=lambda x: (score[x], x))]
  made = []
  for language in chosen:
    code = language or next(iter({x for y in examples.texts for x in y}))
    here = captioned.captions(examples, code)
    prefix = f"{language}/" if language else ""
    made += gallery.make_panels(
      images.name,
      keys=here.image_keys,
      texts=here.texts,
      owners=here.owners,
      image_fn=lambda i, rows=here.rows: images.image_fn(rows[i]),
      zimg_NE=images.zimg_NE[here.rows],
      ztxt_ME=_embedded(here.texts, embed_texts),
      mesh=mesh,
      num_entries=count.queries,
      num_answers=count.answers,
      num_worst=count.queries,
      rank_Q={
        # Ranks are halves.
        name: np.rint(2 / outcome.items[f"{prefix}{name}/MRR"].value_Q) / 2
        for name in directions.NAMES
      },
      language=language,
    )
  return made


def _notes(
  opened: field_set.FieldSet, labels: labels_lib.Labels
) -> Callable[[int], str]:
  """Return a function to the groups of an example in words."""
  groups_NG = labels.groups_NG
  if groups_NG is None:
    return lambda row: ""
  shown = [
    (g, field.replace("_", " "))
    for g, field in enumerate(opened.fields)
    if field in classified.GROUP_FIELDS
  ]
  words = {field: classes for field, (classes, _) in opened.objectives.items()}

  def word(field: str, value: int) -> str:
    classes = words.get(field, ())
    return classes[value] if value < len(classes) else str(value)

  return lambda row: ", ".join(
    f"{field} {word(field, int(groups_NG[row, g]))}" for g, field in shown
  )


def _embedded(
  texts: Sequence[str], embed_texts: outcomes.EmbedTexts
) -> np.ndarray:
  """Return the embeddings of texts that may occur twice."""
  distinct = list(dict.fromkeys(texts))
  row_of = {text: row for row, text in enumerate(distinct)}
  return embed_texts(distinct)[[row_of[text] for text in texts]]
