"""A config over sources that are made up, and what its batches say."""

import types
from collections.abc import Mapping

from configs import base
from configs.parts import sources
from input_pipeline import pipeline
from tests.input_pipeline import fake_records
from training import config as config_lib

Records = fake_records.Records


def format_of(opened: Mapping[str, Records]) -> types.SimpleNamespace:
  """Return a format whose sources are these, by their name in the config."""
  return types.SimpleNamespace(
    LANGUAGES=None,
    splits=lambda source, context: (),
    open_split=lambda source, split, context: opened[context.name],
  )


def config(
  cache_dir, names=("main",), fields=None, **changes
) -> pipeline.DataConfig:
  """Return a `data` section over sources of the format "fake"."""
  values = base.get_config()
  del values.data.sources.main
  for name in names:
    values.data.sources[name] = sources.source(
      format="fake", **(fields or {}).get(name, {})
    )
  values.data.cache_dir = str(cache_dir)
  values.data.image_size = 8
  values.data.tokenizer = "bytes"
  values.data.augmentation.crop_scale = (0.5, 1.0)
  for name, value in changes.items():
    values.data[name] = value
  return config_lib.from_mapping(values.to_dict()).data


def captions(config: pipeline.DataConfig, batches) -> list[str]:
  """Return the captions of batches, decoded."""
  decode = pipeline.make_tokenizer(config).decode
  return [decode(ids) for batch in batches for ids in batch["tokens"]]
