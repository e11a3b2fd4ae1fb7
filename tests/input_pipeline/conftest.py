"""One prepared emoji folder for all test processes."""

import pathlib

import pytest

from configs import base
from configs.parts import sources
from input_pipeline import pipeline
from training import config as config_lib


@pytest.fixture(scope="session")
def cache_dir(shared_dir: pathlib.Path) -> pathlib.Path:
  """Return a cache folder; whichever process comes first fills it."""
  return shared_dir / "cache"


@pytest.fixture(scope="session")
def config(cache_dir: pathlib.Path) -> pipeline.DataConfig:
  """Return the default `data` section over the emoji, prepared."""
  values = base.get_config()
  values.data.sources.main = sources.source(format="emoji", split="train")
  values.data.cache_dir = str(cache_dir)
  config = config_lib.from_mapping(values.to_dict()).data
  pipeline.prepare(config)
  return config
