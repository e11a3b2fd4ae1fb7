"""Sets of `config.evaluate`, opened: what is embedded and scored.

Sources that several sets share are opened once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import labelled, protocols, retrieval, summary, zero_shot
from evaluators.sets import (
  asked_questions,
  choices,
  expressions,
  field_set,
  holdout,
  videos,
)
from evaluators.sets import places as places_lib
from evaluators.sets.disk import items
from input_pipeline import evaluation_split, model_inputs, pipeline
from input_pipeline import languages as languages_lib
from input_pipeline.sources import source_config
from models import class_head, dual_encoder
from models.video import embedding as video_embedding
from runtime import checks, marks

RetrievalSection = retrieval.RetrievalConfig | holdout.Section
LabelledSection = (
  labelled.LabelledConfig | places_lib.PlacesConfig | choices.ChoicesConfig
)
# Kinds of labelled sets whose figures are means over images.
_BY_EXAMPLE = ("classification", "multilabel", "retrieval", "places")
# Key of a split: what it reads.
Source = source_config.SourceConfig | videos.Videos | holdout.HeldOut


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """Fields of `config.evaluate`; configs/base.py explains them."""

  every_steps: int
  batch_size: int
  # A dict has no hash; configs that differ in it alone may share theirs.
  sets: Mapping[
    str,
    retrieval.RetrievalConfig
    | zero_shot.ZeroShotConfig
    | labelled.LabelledConfig
    | places_lib.PlacesConfig
    | choices.ChoicesConfig
    | expressions.ReferringConfig
    | asked_questions.AnsweringConfig,
  ] = dataclasses.field(hash=False)
  # Share of images that training leaves out: the only field of the section that
  # a begun run cannot change.
  holdout: marks.Training[float] = 0.0
  # Most share of a run's time that its evaluations but the last may take.
  max_fraction: marks.Free[float] = 1.0
  # Whether the loss of retrieval sets is a figure of a run's evaluations.
  loss: marks.Free[bool] = False

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    checks.at_least("evaluate.every_steps", self.every_steps, 0)
    checks.in_range("evaluate.holdout", self.holdout, 0, 1)
    if not 0 < self.max_fraction <= 1:
      checks.refuse(
        "evaluate.max_fraction must be above 0 and at most 1; got"
        f" {self.max_fraction} (evaluate.every_steps=0 evaluates at the end"
        " only)"
      )
    for name, section in self.sets.items():
      if name in (summary.ZERO_SHOT, summary.INPUTS):
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

  @checks.collected()
  def check_videos(
    self,
    model: dual_encoder.ModelConfig,
    protocol: model_inputs.Protocol | None = None,
  ) -> None:
    """Raise ValueError where a model cannot embed the videos of a set.

    Args:
      model: config of the model.
      protocol: its image protocol, which makes the crops; None to leave these
        unchecked.
    """
    for name, section in self.sets.items():
      video = getattr(section, "video", None)
      if video is None or not video.is_on:
        continue
      field = f"evaluate.sets.{name}.video"
      with checks.collected():
        video.embedding.check(model, field)
        if protocol is not None:
          video.check_crops(protocol, field)

  @property
  def has_sets(self) -> bool:
    """Whether there is a set to take figures on."""
    return bool(self.sets or self.holdout)

  @property
  def paths(self) -> dict[str, str]:
    """Path of each set's source, or items, by the name of its field."""
    paths = {}
    for name, section in self.sets.items():
      if isinstance(section, choices.ChoicesConfig):
        paths[f"evaluate.sets.{name}.items"] = section.items
      else:
        paths[f"evaluate.sets.{name}.source.path"] = section.source.path
    return paths

  @property
  def retrieval_sets(self) -> dict[str, retrieval.RetrievalConfig]:
    """Retrieval sets by name, in alphabetical order."""
    return {
      name: section
      for name, section in sorted(self.sets.items())
      if isinstance(section, retrieval.RetrievalConfig)
    }

  @property
  def labelled_sets(
    self,
  ) -> dict[str, LabelledSection]:
    """Sets with labels, coordinates or items by name, alphabetically."""
    return {
      name: section
      for name, section in sorted(self.sets.items())
      if isinstance(section, LabelledSection)
    }

  @property
  def generated_sets(
    self,
  ) -> dict[str, expressions.ReferringConfig | asked_questions.AnsweringConfig]:
    """Sets whose answers a decoder writes by name, in alphabetical order."""
    return {
      name: section
      for name, section in sorted(self.sets.items())
      if isinstance(
        section, expressions.ReferringConfig | asked_questions.AnsweringConfig
      )
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
    labelled: labelled sets by name.
    generated: sets whose answers a decoder writes, by name.
    dtype: type of the model's arithmetic.
    is_sample: whether some splits are samples, which may lack a language or
      the classes of a set.
  """

  config: EvaluateConfig
  languages: tuple[str, ...]
  splits: Mapping[Source, evaluation_split.Split]
  names: Mapping[Source, Sequence[str]]
  inputs: model_inputs.ModelInputs
  held_out: Mapping[str, holdout.Section] = dataclasses.field(
    default_factory=dict
  )
  labelled: Mapping[str, field_set.FieldSet] = dataclasses.field(
    default_factory=dict
  )
  generated: Mapping[
    str, expressions.Expressions | asked_questions.Questions
  ] = dataclasses.field(default_factory=dict)
  dtype: str = ""
  is_sample: bool = False

  def with_head(self, classes: Sequence[str], params: Any) -> "Data":
    """Return the data whose sets are judged by a model's head, if it has one.

    Args:
      classes: model.head.classes; () for a model without a head.
      params: the model's parameters.

    Raises:
      ValueError: a set that is judged by the head has other classes.
    """
    by_head = {k: x for k, x in self.labelled.items() if x.is_by_head}
    if not classes or not by_head:
      return self
    head = jax.device_get(params[class_head.NAME])
    rows_AE = np.column_stack([head["kernel"].T, head["bias"]])
    made = {}
    for name, opened in by_head.items():
      values = opened.values or opened.classes
      if {*values} != {*classes}:
        raise ValueError(
          f"evaluate.sets.{name}.head needs the classes of model.head.classes,"
          f" {', '.join(classes)}; got {', '.join(values)}"
        )
      rows = [classes.index(value) for value in values]
      made[name] = dataclasses.replace(opened, head=rows_AE[rows])
    return dataclasses.replace(self, labelled={**self.labelled, **made})

  def sample(self, num: int) -> "Data":
    """Return the sets on samples of their sources.

    Sets whose answers a decoder writes are left out: they have no samples.

    Args:
      num: most examples of a source.
    """
    # The images of an item would not all be in a sample.
    whole = {
      key_of(one)
      for one in self.labelled.values()
      if one.kind not in _BY_EXAMPLE
    }
    splits: dict[Source, evaluation_split.Split] = {
      source: split if source in whole else split.sample(num)
      for source, split in self.splits.items()
      if not is_joined(source)
    }
    for source in self.splits:
      if isinstance(source, holdout.HeldOut) and is_joined(source):
        parts = [splits[one] for one in source.alone()]
        splits[source] = evaluation_split.joined(parts)
    return dataclasses.replace(
      self, splits=splits, generated={}, is_sample=True
    )

  def protocol(self, source: Source) -> dict[str, object]:
    """Return what figures on a source depend on beside the parameters."""
    split = self.splits[source]
    facts = {
      **protocols.facts(protocols.OWN, self.inputs.image_protocol, kind=""),
      "image_protocol": model_inputs.protocol_facts(self.inputs.image_protocol),
      "dtype": self.dtype,
      "num_examples": len(split),
      "data_fingerprint": split.fingerprint(),
    }
    if isinstance(source, videos.Videos):
      facts["video"] = source.video.facts()
    return facts

  def own_texts(self) -> list[str]:
    """Return the texts that are embedded whichever examples there are."""
    return [
      *(text for names in self.names.values() for text in names),
      *(text for one in self.runnable.values() for text in one.prompts()),
      *(text for one in self.labelled.values() for text in one.prompts()),
      *(
        text
        for one in self.labelled.values()
        if one.items
        for text in items.texts(one.items)
      ),
    ]

  @property
  def sources(self) -> dict[str, Source]:
    """Source of each set, by the set's name."""
    sets = {**self.retrieval_sets, **self.config.zero_shot_sets}
    named: dict[str, Source] = {k: one.key for k, one in sets.items()}
    return named | {k: key_of(one) for k, one in self.labelled.items()}

  def name_of(self, source: Source) -> str:
    """Return the name of the first set that is taken on a source."""
    return next(name for name, key in self.sources.items() if key == source)

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


def load_data(
  config: EvaluateConfig,
  data: pipeline.DataConfig,
  inputs: model_inputs.ModelInputs,
  dtype: str,
) -> Data:
  """Open the sources of the sets; other sources are not opened for them.

  Args:
    config: section `evaluate` of the run.
    data: section `data` of the run.
    inputs: image protocol and tokenizer of the model.
    dtype: type of the model's arithmetic.

  Raises:
    ValueError: a set's source cannot be read, or it has no example.
  """
  splits, names = {}, {}
  for name, section in (
    *config.retrieval_sets.items(),
    *config.zero_shot_sets.items(),
  ):
    if section.key not in splits:
      splits[section.key] = _opened(data, section.key, name, inputs)
    key = whole(section.source)
    if (
      isinstance(section, retrieval.RetrievalConfig)
      and section.all_names
      and key not in names
    ):
      every = evaluation_split.open_all_splits(
        data,
        section.source,
        name="source",
        section=f"evaluate.sets.{name}",
        protocol=inputs.image_protocol,
      )
      names[key] = evaluation_split.all_texts(every, data.languages[0])
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
  opened_sets = {}
  for name, section in config.labelled_sets.items():
    opened = section.open(name, data.cache_dir)
    opened_sets[name] = opened
    source = key_of(opened)
    if source not in splits:
      splits[source] = _opened(data, source, name, inputs)
  generated = {
    name: section.open(name, data)
    for name, section in config.generated_sets.items()
  }
  return Data(
    config=config,
    languages=data.languages,
    splits=splits,
    names=names,
    inputs=inputs,
    held_out=held_out,
    labelled=opened_sets,
    generated=generated,
    dtype=dtype,
  )


def _opened(
  data: pipeline.DataConfig,
  source: source_config.SourceConfig | videos.Videos,
  name: str,
  inputs: model_inputs.ModelInputs,
) -> evaluation_split.Split:
  """Return the split of a set of the config."""
  is_video = isinstance(source, videos.Videos)
  return evaluation_split.open_split(
    data,
    source.source if is_video else source,
    name="source",
    section=f"evaluate.sets.{name}",
    protocol=inputs.image_protocol,
    views=source.video.views if is_video else None,
  )


def tower_of(source: Source) -> video_embedding.EmbeddingConfig | None:
  """Return the tower that embeds videos; None for a source of images."""
  is_video = isinstance(source, videos.Videos)
  return source.video.embedding if is_video else None


def is_joined(source: Source) -> bool:
  """Return whether a key is of several sources together."""
  return isinstance(source, holdout.HeldOut) and len(source.names) > 1


def source_of(opened: field_set.FieldSet) -> source_config.SourceConfig:
  """Return the source of a labelled set."""
  return source_config.SourceConfig(**opened.source)


def key_of(
  opened: field_set.FieldSet,
) -> source_config.SourceConfig | videos.Videos:
  """Return the key of the examples of a labelled set."""
  return videos.key(source_of(opened), opened.video)


def whole(source: source_config.SourceConfig) -> source_config.SourceConfig:
  """Return a key that is equal for all splits of a source."""
  return dataclasses.replace(source, split="")
