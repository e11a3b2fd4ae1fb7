"""One prepared emoji folder for all test processes."""

import pathlib

import pytest

from configs import base
from input_pipeline import pipeline


@pytest.fixture(scope="session")
def cache_dir(shared_dir: pathlib.Path) -> pathlib.Path:
  """Return a cache folder; whichever process comes first fills it."""
  return shared_dir / "cache"


@pytest.fixture(scope="session")
def config(cache_dir: pathlib.Path) -> pipeline.Data:
  """Return the default `data` section, prepared."""
  fields = base.get_config().data.to_dict() | {"cache_dir": str(cache_dir)}
  config = pipeline.Data(**fields)
  pipeline.prepare(config)
  return config
