"""Evaluation of a model on the sets of `config.evaluate.sets`.

Examples of a source that several sets share are decoded and embedded once, and
so is each distinct text, however many figures it enters.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import embedding, retrieval, summary, zero_shot
from evaluators import gallery as gallery_lib
from evaluators.sets import holdout
from input_pipeline import evaluation_split, model_inputs, pipeline
from input_pipeline import languages as languages_lib
from input_pipeline.sources import source_config
from runtime import checks, marks, sections

Results = dict[str, Any]
RetrievalSection = retrieval.RetrievalConfig | holdout.Section
# Key of a split: what it reads.
Source = source_config.SourceConfig | holdout.HeldOut

# Group of results.json with the figures of all zero-shot sets.
_ZERO_SHOT = "zero_shot"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """Fields of `config.evaluate`; configs/base.py explains them."""

  every_steps: int
  batch_size: int
  # A dict has no hash; configs that differ in it alone may share theirs.
  sets: Mapping[str, retrieval.RetrievalConfig | zero_shot.ZeroShotConfig] = (
    dataclasses.field(hash=False)
  )
  # Of the section the only field that a begun run cannot change.
  holdout: marks.Training[float] = 0.0

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    checks.at_least("evaluate.every_steps", self.every_steps, 0)
    checks.in_range("evaluate.holdout", self.holdout, 0, 1)
    for name, section in self.sets.items():
      if name in (_ZERO_SHOT, summary.INPUTS):
        checks.refuse(
          f"evaluate.sets must have other names than {name!r}, a group of "
          "results.json"
        )
      if self.holdout and holdout.is_name(name):
        checks.refuse(
          "evaluate.sets must have other names than those of evaluate.holdout="
          f'{self.holdout}, "{holdout.NAME}" and "{holdout.NAME}_NAME"; got '
          f"{name!r}"
        )
      with checks.collected():
        section.check(f"evaluate.sets.{name}")

  @property
  def retrieval_sets(self) -> dict[str, retrieval.RetrievalConfig]:
    """Retrieval sets by name, in alphabetical order."""
    return {
      name: section
      for name, section in sorted(self.sets.items())
      if isinstance(section, retrieval.RetrievalConfig)
    }

  @property
  def zero_shot_sets(self) -> dict[str, zero_shot.ZeroShotConfig]:
    """Zero-shot sets by name, in alphabetical order."""
    return {
      name: section
      for name, section in sorted(self.sets.items())
      if isinstance(section, zero_shot.ZeroShotConfig)
    }


@dataclasses.dataclass(frozen=True)
class Data:
  """Opened inputs of the evaluations of a run.

  Attributes:
    config: section `evaluate` of the run.
    languages: data.languages; figures in the first one are the headline.
    splits: split of each distinct source of the sets; images are not loaded.
    names: texts of all splits of a source in the first language, for the
      sources of sets with `all_names`.
    inputs: image protocol and tokenizer of the model.
    held_out: sets of what evaluate.holdout keeps out of training.
  """

  config: EvaluateConfig
  languages: tuple[str, ...]
  splits: Mapping[Source, evaluation_split.Split]
  names: Mapping[Source, Sequence[str]]
  inputs: model_inputs.ModelInputs
  held_out: Mapping[str, holdout.Section] = dataclasses.field(
    default_factory=dict
  )

  @property
  def retrieval_sets(self) -> dict[str, RetrievalSection]:
    """Retrieval sets by name: those of the config, then `held_out`."""
    return {**self.config.retrieval_sets, **self.held_out}

  @property
  def runnable(self) -> dict[str, zero_shot.ZeroShotConfig]:
    """Zero-shot sets whose prompts are in a language of the run."""
    return {
      name: section
      for name, section in self.config.zero_shot_sets.items()
      if languages_lib.normalised(section.language)
      in map(languages_lib.normalised, self.languages)
    }


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Embeddings of Data by one model: float32 rows of length 1.

  Attributes:
    examples: images, keys and texts of each distinct source.
    row: text -> row of ztxt.
    ztxt: [N, E], one row a text.
  """

  examples: Mapping[Source, embedding.Examples]
  row: Mapping[str, int]
  ztxt: np.ndarray

  def texts(self, texts: Sequence[str]) -> np.ndarray:
    """Return ztxt [N, E] of texts that were embedded."""
    return self.ztxt[[self.row[text] for text in texts]]


def load_data(
  config: EvaluateConfig,
  data: pipeline.DataConfig,
  inputs: model_inputs.ModelInputs,
) -> Data:
  """Open the sources of the sets; other sources are not opened for them.

  Args:
    config: section `evaluate` of the run.
    data: section `data` of the run.
    inputs: image protocol and tokenizer of the model.

  Raises:
    ValueError: a set's source cannot be read, or it has no example.
  """
  splits, names = {}, {}
  for name, section in (
    *config.retrieval_sets.items(),
    *config.zero_shot_sets.items(),
  ):
    at = {
      "name": "source",
      "section": f"evaluate.sets.{name}",
      "protocol": inputs.image_protocol,
    }
    source = section.source
    if source not in splits:
      splits[source] = evaluation_split.open_split(data, source, **at)
    whole = _whole(source)
    if (
      isinstance(section, retrieval.RetrievalConfig)
      and section.all_names
      and whole not in names
    ):
      every = evaluation_split.open_all_splits(data, source, **at)
      names[whole] = evaluation_split.all_texts(every, data.languages[0])
  held_out = holdout.sections(config.holdout, [*data.sources])
  alone = {
    name: evaluation_split.open_held_out(
      data, name, share=config.holdout, protocol=inputs.image_protocol
    )
    for name in (data.sources if held_out else ())
  }
  for section in held_out.values():
    parts = [alone[name] for name in section.source.names]
    split = parts[0] if len(parts) == 1 else evaluation_split.joined(parts)
    splits[section.source] = split
  return Data(
    config=config,
    languages=data.languages,
    splits=splits,
    names=names,
    inputs=inputs,
    held_out=held_out,
  )


def run(data: Data, embedder: embedding.Embedder, params: Any) -> Results:
  """Embed and score; return the results of `score`.

  Raises:
    embedding.Interrupted: the embedder was told to stop.
  """
  return score(data, embed(data, embedder, params), embedder.mesh)


def embed(data: Data, embedder: embedding.Embedder, params: Any) -> Embeddings:
  """Embed every image of the splits and every distinct text once."""
  examples, joined = {}, []
  for source, split in data.splits.items():
    if isinstance(source, holdout.HeldOut) and len(source.names) > 1:
      joined.append(source)
    else:
      examples[source] = embedder.split(params, split)
  for source in joined:
    alone = [dataclasses.replace(source, names=(x,)) for x in source.names]
    parts = [(data.splits[one], examples[one]) for one in alone]
    examples[source] = holdout.joined(parts)
  texts = {text: None for names in data.names.values() for text in names}
  for part in examples.values():
    for language in data.languages:
      code = languages_lib.normalised(language)
      texts |= dict.fromkeys(
        text for texts in part.texts for text in texts.get(code, ())
      )
  for section in data.runnable.values():
    texts |= dict.fromkeys(section.prompts())
  texts.pop("", None)  # an example without a text in some language
  return Embeddings(
    examples=examples,
    row={text: row for row, text in enumerate(texts)},
    ztxt=(
      embedder.texts(params, data.inputs.tokenizer(list(texts)))
      if texts
      else np.zeros((0, 0), np.float32)
    ),
  )


def score(
  data: Data, embeddings: Embeddings, mesh: jax.sharding.Mesh
) -> Results:
  """Score embeddings: a tree of dicts, the content of results.json.

  For each retrieval set: num_candidates (images), num_texts, image_to_text,
  text_to_image and all_names (image to text against all names, where the set
  asks for it) in the first language, then "languages" where there are several,
  and num_left_out where held-out images cannot be used;
  "zero_shot" has one entry for each zero-shot set, and "inputs" the image
  protocol and the tokenizer.
  """
  results: Results = {}
  for name, section in data.retrieval_sets.items():
    results[name] = _retrieval(name, section, data, embeddings, mesh)
  if data.config.zero_shot_sets:
    results[_ZERO_SHOT] = {
      name: _zero_shot(name, section, data, embeddings, mesh)
      for name, section in data.config.zero_shot_sets.items()
    }
  if results:
    results[summary.INPUTS] = data.inputs.facts()
  return results


def gallery(
  data: Data, embeddings: Embeddings, mesh: jax.sharding.Mesh
) -> list[gallery_lib.Panel]:
  """Choose queries to look at, in both directions of each retrieval set."""
  panels = []
  for name, section in data.retrieval_sets.items():
    examples = embeddings.examples[section.source]
    language = _languages(section, data, examples)[0]
    rows, texts, owners = _named(examples, name, language)
    split = data.splits[section.source]
    panels += gallery_lib.make_panels(
      name,
      keys=[examples.keys[row] for row in rows],
      texts=texts,
      owners=owners,
      image_fn=functools.partial(_image, split, examples, rows),
      zimg_NE=examples.zimg_NE[rows],
      ztxt_ME=embeddings.texts(texts),
      mesh=mesh,
    )
  return panels


def scalars(results: Results) -> dict[str, float]:
  """Flatten results to metrics such as "compositional/image_to_text/R@1".

  Sizes (num_*) and sets that were not run are left out.
  """
  figures = {k: v for k, v in results.items() if k != summary.INPUTS}
  return {
    path: value
    for path, value in sections.flat(figures, "/").items()
    if isinstance(value, float)
    and not path.rpartition("/")[2].startswith("num_")
  }


def _image(
  split: evaluation_split.Split,
  examples: embedding.Examples,
  rows: Sequence[int],
  index: int,
) -> np.ndarray:
  """Return the image of one of `rows` of the examples, as people see it."""
  return split.image(examples.rows[rows[index]])


def _named(
  examples: embedding.Examples, name: str, language: str
) -> tuple[list[int], list[str], list[int]]:
  """Return rows with texts in a language, all their texts, and whose each is.

  The last are indices of the first: owners as in `retrieval.evaluate`.
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
  section: RetrievalSection,
  data: Data,
  embeddings: Embeddings,
  mesh: jax.sharding.Mesh,
) -> Results:
  examples = embeddings.examples[section.source]
  by_language: dict[str, Results] = {}
  for language in _languages(section, data, examples):
    rows, texts, owners = _named(examples, name, language)
    scores = retrieval.evaluate(
      examples.zimg_NE[rows],
      embeddings.texts(texts),
      texts,
      mesh,
      owners=owners,
    )
    by_language[language] = {
      "num_candidates": len(rows),
      "num_texts": len(texts),
      **{
        direction: _reported(section, figures)
        for direction, figures in scores.items()
      },
    }
  results = dict(next(iter(by_language.values())))
  if isinstance(section, holdout.Section):
    ids = data.splits[section.source].image_ids
    assert ids is not None  # evaluation_split.open_held_out
    if num := len(np.unique(ids)) - len(examples.rows):
      results["num_left_out"] = num
  if isinstance(section, retrieval.RetrievalConfig) and section.all_names:
    rows, texts, owners = _named(examples, name, data.languages[0])
    names = data.names[_whole(section.source)]
    image_NK, label = retrieval.labels(texts, owners, names)
    scores = retrieval.scored(
      examples.zimg_NE[rows],
      embeddings.texts(names),
      label_Q=image_NK,
      label_M=label[len(texts) :],
      mesh=mesh,
    )
    results["all_names"] = _reported(section, scores)
  if len(data.languages) > 1:
    results["languages"] = by_language
  return results


def _zero_shot(
  name: str,
  section: zero_shot.ZeroShotConfig,
  data: Data,
  embeddings: Embeddings,
  mesh: jax.sharding.Mesh,
) -> Results:
  if name not in data.runnable:
    return {
      "not_run": f'its prompts need "{section.language}" in data.languages, '
      f"which are {', '.join(data.languages)}"
    }
  examples = embeddings.examples[section.source]
  try:
    row_N, label_N = section.labels(examples.keys)
  except ValueError as error:
    raise ValueError(f"evaluate.sets.{name}: {error}") from error
  scores = zero_shot.evaluate(
    examples.zimg_NE[row_N],
    zero_shot.class_embeddings(
      embeddings.texts(section.prompts()), len(section.classes)
    ),
    label_N,
    mesh,
  )
  return _reported(section, scores)


def _reported(
  section: RetrievalSection | zero_shot.ZeroShotConfig,
  figures: Mapping[str, float],
) -> dict[str, float]:
  """Return the figures that a set asks for, and sizes."""
  return {
    name: value
    for name, value in figures.items()
    if name in section.metrics or name.startswith("num_")
  }


def _languages(
  section: RetrievalSection, data: Data, examples: embedding.Examples
) -> list[str]:
  """Return the languages of a set; those that chance has held out, if any."""
  languages = [*data.languages]
  if isinstance(section, holdout.Section):
    there = {code for texts in examples.texts for code in texts}
    languages = [x for x in languages if languages_lib.normalised(x) in there]
  return languages or [*data.languages[:1]]


def _whole(source: source_config.SourceConfig) -> source_config.SourceConfig:
  """Return a key that is equal for all splits of a source."""
  return dataclasses.replace(source, split="")
