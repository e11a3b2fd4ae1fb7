"""Evaluation of a model on the sets of `config.evaluate.sets`.

Examples of a source that several sets share are decoded and embedded once, and
so is each distinct text, however many figures it enters.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import (
  directions,
  embedding,
  pair_scores,
  retrieval,
  suite_data,
  summary,
  zero_shot,
)
from evaluators.figures import gallery as gallery_lib
from evaluators.figures import (
  item_gallery,
  outcomes,
  set_figures,
  set_gallery,
)
from evaluators.sets import holdout, videos
from evaluators.sets import labels as labels_lib
from input_pipeline import evaluation_split
from input_pipeline import languages as languages_lib
from input_pipeline.selecting import sample as sample_lib
from runtime import cluster, sections

Results = dict[str, Any]
# Function of a source and its opened split.
EmbedSplit = Callable[
  [suite_data.Source, evaluation_split.Split], embedding.Examples
]

# Groups beside figures that are none of the model.
_BESIDE = {"chance", "intervals", "protocol", "baselines"}
# Worst queries of a retrieval set in a gallery, each way.
_NUM_WORST = 5


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Embeddings of suite_data.Data by one model: float32 rows of length 1.

  Attributes:
    examples: images, keys and texts of each distinct source.
    row: text -> row of ztxt.
    ztxt: [N, E], one row a text.
  """

  examples: Mapping[suite_data.Source, embedding.Examples]
  row: Mapping[str, int]
  ztxt: np.ndarray

  def texts(self, texts: Sequence[str]) -> np.ndarray:
    """Return ztxt [N, E] of texts that were embedded."""
    return self.ztxt[[self.row[text] for text in texts]]


def run(
  data: suite_data.Data, embedder: embedding.Embedder, params: Any
) -> Results:
  """Embed and score; return the results of `score`.

  Raises:
    embedding.Interrupted: the embedder was told to stop.
  """
  return score(data, embed(data, embedder, params), embedder.mesh)


def embed(
  data: suite_data.Data, embedder: embedding.Embedder, params: Any
) -> Embeddings:
  """Embed every image of the splits and every distinct text once."""
  return embed_by(
    data,
    lambda source, split: embedder.split(
      params, split, video=suite_data.tower_of(source)
    ),
    lambda texts: embedder.texts(params, data.inputs.tokenizer([*texts])),
  )


def embed_by(
  data: suite_data.Data,
  images_fn: EmbedSplit,
  texts_fn: outcomes.EmbedTexts,
) -> Embeddings:
  """Embed by functions that may have kept what they embedded before.

  Args:
    data: opened sets.
    images_fn: embeds the images of a source; called once for each, and not for
      several sources together.
    texts_fn: embeds texts; called once, with distinct ones, or not at all.
  """
  examples, joined = {}, []
  for source, split in data.splits.items():
    if isinstance(source, holdout.HeldOut) and suite_data.is_joined(source):
      joined.append(source)
    else:
      examples[source] = images_fn(source, split)
  for source in joined:
    parts = [(data.splits[one], examples[one]) for one in source.alone()]
    examples[source] = holdout.joined(parts)
  texts = dict.fromkeys(data.own_texts())
  for part in examples.values():
    for language in data.languages:
      code = languages_lib.normalised(language)
      texts |= dict.fromkeys(
        text for texts in part.texts for text in texts.get(code, ())
      )
  texts.pop("", None)  # an example without a text in some language
  return Embeddings(
    examples=examples,
    row={text: row for row, text in enumerate(texts)},
    ztxt=texts_fn(list(texts)) if texts else np.zeros((0, 0), np.float32),
  )


def of_sample(sample: suite_data.Data, embeddings: Embeddings) -> Embeddings:
  """Return the embeddings of a sample of the data that were embedded."""

  def images(
    source: suite_data.Source, split: evaluation_split.Split
  ) -> embedding.Examples:
    part = embeddings.examples[source]
    if not isinstance(split.records, sample_lib.Sample):
      return part
    place = {row: i for i, row in enumerate(split.records.rows.tolist())}
    kept = [i for i, row in enumerate(part.rows) if row in place]
    return embedding.Examples(
      rows=tuple(place[part.rows[i]] for i in kept),
      keys=tuple(part.keys[i] for i in kept),
      texts=tuple(part.texts[i] for i in kept),
      zimg_NE=part.zimg_NE[kept],
    )

  return embed_by(sample, images, embeddings.texts)


def score(
  data: suite_data.Data, embeddings: Embeddings, mesh: jax.sharding.Mesh
) -> Results:
  """Score embeddings: a tree of dicts, the content of results.json.

  For each retrieval set: num_candidates (images), num_texts, image_to_text,
  text_to_image and all_names (image to text against all names, where the set
  asks for it) in the first language, then "languages" where there are several,
  and num_left_out where held-out images cannot be used. Those of videos have
  kind "video_retrieval", video_to_text and text_to_video, with chance;
  "zero_shot" has one entry for each zero-shot set, and "inputs" the image
  protocol and the tokenizer.
  """
  results: Results = {}
  for name, section in data.retrieval_sets.items():
    part = embeddings.examples[section.key]
    if not data.is_sample or _there(data.languages, part):
      results[name] = _retrieval(name, section, data, embeddings, mesh)
  for name, opened in data.labelled.items():
    source = suite_data.key_of(opened)
    outcome = set_figures.evaluate(
      opened, embeddings.examples[source], embeddings.texts, mesh
    )
    outcome.record["protocol"] |= data.protocol(source)
    results[name] = outcome.record
  if data.config.zero_shot_sets:
    results[summary.ZERO_SHOT] = {
      name: _zero_shot(name, section, data, embeddings, mesh)
      for name, section in data.config.zero_shot_sets.items()
    }
  if results:
    results[summary.INPUTS] = data.inputs.facts()
  return results


def gallery(
  data: suite_data.Data, embeddings: Embeddings, mesh: jax.sharding.Mesh
) -> list[gallery_lib.Panel]:
  """Choose queries and examples to look at, of each set."""
  panels = []
  for name, section in data.retrieval_sets.items():
    examples = embeddings.examples[section.key]
    language = _languages(section, data, examples)[0]
    rows, texts, owners = _named(examples, name, language)
    split = data.splits[section.key]
    panels += gallery_lib.make_panels(
      name,
      keys=[examples.keys[row] for row in rows],
      texts=texts,
      owners=owners,
      image_fn=functools.partial(_image, split, examples, rows),
      zimg_NE=examples.zimg_NE[rows],
      ztxt_ME=embeddings.texts(texts),
      mesh=mesh,
      num_worst=_NUM_WORST,
    )
  for name, opened in data.labelled.items():
    source = suite_data.key_of(opened)
    examples = embeddings.examples[source]
    images = _images(
      name, data.splits[source], examples, range(len(examples.rows))
    )
    if opened.items:
      panels += item_gallery.panels(
        images, opened, embeddings.texts, set_gallery.Counts().labelled
      )
      continue
    labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
    panels += set_gallery.answered(opened, labels, images, embeddings.texts)
  for name, section in data.runnable.items():
    examples = embeddings.examples[section.key]
    rows, label_N = section.labels(examples.keys)
    panels += set_gallery.labelled(
      _images(name, data.splits[section.key], examples, rows.tolist()),
      zero_shot.class_embeddings(
        embeddings.texts(section.prompts()), len(section.classes)
      ),
      section.classes,
      label_N,
    )
  return panels


def scalars(results: Results) -> dict[str, float]:
  """Flatten results to metrics such as "compositional/image_to_text/R@1".

  Sizes (num_*), sets that were not run, chance and intervals are left out.
  """
  figures = {k: v for k, v in results.items() if k != summary.INPUTS}
  return {
    path: value
    for path, value in sections.flat(figures, "/").items()
    if isinstance(value, float)
    and not path.rpartition("/")[2].startswith("num_")
    and not _BESIDE & set(path.split("/"))
  }


def _image(
  split: evaluation_split.Split,
  examples: embedding.Examples,
  rows: Sequence[int],
  index: int,
) -> np.ndarray | None:
  """Return the image of one of `rows` of the examples, as people see it.

  Only the first of several processes writes pages, and has images.
  """
  if not cluster.is_first():
    return None
  return set_gallery.image(split, examples.rows[rows[index]])


def _images(
  name: str,
  split: evaluation_split.Split,
  examples: embedding.Examples,
  rows: Sequence[int],
) -> gallery_lib.Images:
  """Return `rows` of the examples, for a gallery."""
  return gallery_lib.Images(
    name,
    [examples.keys[row] for row in rows],
    functools.partial(_image, split, examples, rows),
    examples.zimg_NE[rows],
  )


def _named(
  examples: embedding.Examples, name: str, language: str
) -> tuple[list[int], list[str], list[int]]:
  """Return rows with texts in a language, all their texts, and whose each is.

  The last are indices of the first: owners as in `directions.judge`.
  """
  code = languages_lib.normalised(language)
  by_row = [texts.get(code, ()) for texts in examples.texts]
  rows = [row for row, texts in enumerate(by_row) if texts]
  if not rows:
    raise ValueError(
      f"no example of evaluate.sets.{name} has a text in {language}"
    )
  pairs = [(i, text) for i, row in enumerate(rows) for text in by_row[row]]
  return rows, [text for _, text in pairs], [i for i, _ in pairs]


def _retrieval(
  name: str,
  section: suite_data.RetrievalSection,
  data: suite_data.Data,
  embeddings: Embeddings,
  mesh: jax.sharding.Mesh,
) -> Results:
  examples = embeddings.examples[section.key]
  is_video = isinstance(section.key, videos.Videos)
  directed = pair_scores.NAMES if is_video else directions.NAMES
  name_of = dict(zip(directions.NAMES, directed, strict=True))
  by_language: dict[str, Results] = {}
  for language in _languages(section, data, examples):
    rows, texts, owners = _named(examples, name, language)
    judged = directions.judge(
      examples.zimg_NE[rows],
      embeddings.texts(texts),
      texts,
      mesh,
      owners=owners,
      reweight=section.reweight,
      true_recall=bool(set(section.metrics) & set(retrieval.TRUE_RECALLS)),
    )
    by_language[language] = {
      "num_candidates": len(rows),
      "num_texts": len(texts),
      **{
        name_of[direction]: directions.reported(
          outcome, section.metrics, with_chance=is_video
        )
        for direction, outcome in judged.items()
      },
    }
  results = dict(next(iter(by_language.values())))
  if is_video:
    results["kind"] = pair_scores.KIND
  if isinstance(section, holdout.Section):
    ids = data.splits[section.key].image_ids
    assert ids is not None  # evaluation_split.open_held_out
    if num := len(np.unique(ids)) - len(examples.rows):
      results["num_left_out"] = num
  if isinstance(section, retrieval.RetrievalConfig) and section.all_names:
    rows, texts, owners = _named(examples, name, data.languages[0])
    names = data.names[suite_data.whole(section.source)]
    image_NK, label = retrieval.labels(texts, owners, names)
    scores = retrieval.scored(
      examples.zimg_NE[rows],
      embeddings.texts(names),
      label_Q=image_NK,
      label_M=label[len(texts) :],
      mesh=mesh,
      reweight=section.reweight,
    )
    results["all_names"] = _reported(section, scores)
  if len(data.languages) > 1:
    results["languages"] = by_language
  results["protocol"] = {
    **retrieval.protocol(section.reweight),
    **data.protocol(section.key),
  }
  return results


def _zero_shot(
  name: str,
  section: zero_shot.ZeroShotConfig,
  data: suite_data.Data,
  embeddings: Embeddings,
  mesh: jax.sharding.Mesh,
) -> Results:
  if name not in data.runnable:
    return {
      "not_run": f'its prompts need "{section.language}" in data.languages, '
      f"which are {', '.join(data.languages)}"
    }
  examples = embeddings.examples[section.key]
  try:
    row_N, label_N = section.labels(examples.keys)
  except ValueError as error:
    if data.is_sample:
      return {"not_run": f"in the sample, {error}"}
    raise ValueError(f"evaluate.sets.{name}: {error}") from error
  num_classes = len(section.classes)
  zclass_AE = zero_shot.class_embeddings(
    embeddings.texts(section.prompts()), num_classes
  )
  rank_N = zero_shot.ranks(examples.zimg_NE[row_N], zclass_AE, label_N, mesh)
  bounds = zero_shot.bounds(rank_N, label_N, num_classes)
  return {
    **_reported(section, zero_shot.figures(rank_N, label_N, num_classes)),
    "chance": _reported(section, zero_shot.chance(num_classes)),
    "intervals": {
      name: bound for name, bound in bounds.items() if name in section.metrics
    },
    "protocol": zero_shot.protocol(section) | data.protocol(section.key),
  }


def _reported(
  section: suite_data.RetrievalSection | zero_shot.ZeroShotConfig,
  figures: Mapping[str, float],
) -> dict[str, float]:
  """Return the figures that a set asks for, and sizes."""
  return {
    name: value
    for name, value in figures.items()
    if name in section.metrics or name.startswith("num_")
  }


def _languages(
  section: suite_data.RetrievalSection,
  data: suite_data.Data,
  examples: embedding.Examples,
) -> list[str]:
  """Return the languages of a set; those that chance has left, if any."""
  languages = [*data.languages]
  if data.is_sample or isinstance(section, holdout.Section):
    languages = _there(languages, examples)
  return languages or [*data.languages[:1]]


def _there(languages: Sequence[str], examples: embedding.Examples) -> list[str]:
  """Return those of the languages in which examples have a text."""
  there = {code for texts in examples.texts for code in texts}
  return [x for x in languages if languages_lib.normalised(x) in there]
