"""Splits of a config's only source, read whole."""

import dataclasses

import numpy as np

from input_pipeline import evaluation_split, model_inputs, pipeline


@dataclasses.dataclass(frozen=True)
class Examples:
  """A split in memory: keys, language -> texts, images [N, Y, X, 3]."""

  keys: tuple[str, ...]
  texts: dict[str, tuple[str, ...]]
  images: np.ndarray


def open_split(
  config: pipeline.DataConfig, split: str
) -> evaluation_split.Split:
  """Return a split of the only source."""
  ((name, source),) = config.sources.items()
  source = dataclasses.replace(source, split=split)
  return evaluation_split.open_split(
    config,
    source,
    name=name,
    section="data.sources",
    protocol=protocol(config),
  )


def protocol(config: pipeline.DataConfig) -> model_inputs.Protocol:
  """Return the image protocol that fits the section's augmentation."""
  half = (0.5, 0.5, 0.5)
  return config.augmentation.evaluation_protocol(config.image_size, half, half)


def read_split(config: pipeline.DataConfig, split: str) -> Examples:
  """Return all examples of a split of the only source."""
  batches = list(open_split(config, split).batches(100))
  texts = [text for batch in batches for text in batch.texts]
  return Examples(
    keys=tuple(key for batch in batches for key in batch.keys),
    texts={
      language: tuple(text.get(language, ("",))[0] for text in texts)
      for language in sorted({lang for text in texts for lang in text})
    },
    images=np.concatenate([batch.images for batch in batches]),
  )


def all_splits(
  config: pipeline.DataConfig,
) -> dict[str, evaluation_split.Split]:
  """Return every split of the only source."""
  ((name, source),) = config.sources.items()
  return evaluation_split.open_all_splits(
    config,
    source,
    name=name,
    section="data.sources",
    protocol=protocol(config),
  )


def all_texts(config: pipeline.DataConfig) -> dict[str, tuple[str, ...]]:
  """Return the texts of every split in each of the source's languages."""
  every = all_splits(config)
  languages = {
    lang
    for split in every.values()
    for _, texts in split.texts()
    for lang in texts
  }
  return {
    language: evaluation_split.all_texts(every, language)
    for language in sorted(languages)
  }
