"""Sets of a config, in the form that measures take."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from evaluators import embedding, embedding_cache, suite_data
from evaluators.sets import field_set, holdout
from inference.evaluation import set_measures
from input_pipeline import evaluation_split, pipeline
from input_pipeline import languages as languages_lib
from input_pipeline.sources import record as record_lib

SECTION = "evaluate.sets"


def opened(data: suite_data.Data) -> dict[str, field_set.FieldSet]:
  """Return the sets by name; zero-shot ones as sets with labels.

  A zero-shot set whose prompts are in no language of the run is left out.
  """
  sets = {
    name: field_set.FieldSet(name, "retrieval", {})
    for name in data.retrieval_sets
  }
  for name, section in data.config.retrieval_sets.items():
    sets[name] = dataclasses.replace(sets[name], video=section.video)
  sets |= data.labelled
  for name, section in data.runnable.items():
    sets[name] = field_set.FieldSet(
      *(name, "classification", {}, ("label",)),
      classes=section.classes,
      templates=tuple(x.replace("{}", "{c}") for x in section.templates),
      video=section.video,
    )
  return sets


def embedded(
  data: suite_data.Data,
  by_source: Mapping[suite_data.Source, embedding.Examples],
  config: pipeline.DataConfig,
) -> Iterator[set_measures.Embedded]:
  """Yield the sets with their examples.

  Args:
    data: opened sets.
    by_source: embedded examples of each source.
    config: section `data` of the config.
  """
  for name, one in opened(data).items():
    source = data.sources[name]
    choose = _chosen(data, name)
    yield set_measures.Embedded(
      one,
      data.splits[source],
      embedding_cache.Embedded(choose(by_source[source]), "", 0),
      SECTION,
      functools.partial(_embed, (data, config), name, choose),
    )


def facts(
  source: suite_data.Source, data: pipeline.DataConfig
) -> dict[str, Any]:
  """Return what the examples of one source depend on beside its files."""
  if isinstance(source, holdout.HeldOut):
    (name,) = source.names
    section = dataclasses.asdict(data.sources[name])
    return {"holdout": source.share, "source": section}
  return dataclasses.asdict(source)


def _chosen(
  data: suite_data.Data, name: str
) -> Callable[[embedding.Examples], embedding.Examples]:
  """Return a function from a source's examples to those of a set."""
  if name in data.runnable:
    return functools.partial(_with_labels, data, name)
  if name in data.labelled:
    return lambda examples: examples
  return functools.partial(_in_languages, data.languages)


def _with_labels(
  data: suite_data.Data, name: str, examples: embedding.Examples
) -> embedding.Examples:
  """Return the examples that have a class, with its number as their text."""
  row_N, label_N = data.runnable[name].labels(examples.keys)
  return embedding.Examples(
    tuple(examples.rows[row] for row in row_N),
    tuple(examples.keys[row] for row in row_N),
    tuple({field_set.LABELS: (str(label),)} for label in label_N),
    examples.zimg_NE[row_N],
  )


def _in_languages(
  languages: tuple[str, ...], examples: embedding.Examples
) -> embedding.Examples:
  """Return the examples with a text in a language of the run, and those."""
  codes = {languages_lib.normalised(language) for language in languages}
  texts = [
    {code: some for code, some in one.items() if code in codes}
    for one in examples.texts
  ]
  row_N = np.array([row for row, one in enumerate(texts) if one], np.int64)
  return embedding.Examples(
    tuple(examples.rows[row] for row in row_N),
    tuple(examples.keys[row] for row in row_N),
    tuple(texts[row] for row in row_N),
    examples.zimg_NE[row_N],
  )


def _embed(
  opened_in: tuple[suite_data.Data, pipeline.DataConfig],
  name: str,
  choose: Callable[[embedding.Examples], embedding.Examples],
  cache: embedding_cache.Cache,
  words: str,
  features: Mapping[str, Any],
  change: evaluation_split.Change | None,
) -> embedding_cache.Embedded:
  """Embed a set once more; see set_measures.Embed."""
  data, config = opened_in
  source = data.sources[name]

  def embed_one(one: suite_data.Source) -> embedding_cache.Embedded:
    split = dataclasses.replace(data.splits[one], change=change)
    return cache.images(
      *(f"{name}{words}", split, facts(one, config)),
      facts=features,
      video=suite_data.tower_of(one),
    )

  if isinstance(source, holdout.HeldOut) and suite_data.is_joined(source):
    parts = {one: embed_one(one) for one in source.alone()}
    examples = holdout.joined(
      [(data.splits[one], part.examples) for one, part in parts.items()]
    )
    digest = record_lib.digest([part.data for part in parts.values()])
    num_new = sum(part.num_new for part in parts.values())
    return embedding_cache.Embedded(choose(examples), digest, num_new)
  part = embed_one(source)
  return dataclasses.replace(part, examples=choose(part.examples))
