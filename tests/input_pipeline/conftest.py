"""One prepared emoji folder for all test processes."""

import pathlib

import pytest
from absl import flags

from configs import base
from input_pipeline import pipeline


@pytest.fixture(scope="session", autouse=True)
def _parsed_flags() -> None:
  # Grain reads its absl flags, which pytest never parses.
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="session")
def cache_dir(
  tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> pathlib.Path:
  """Return a cache folder; whichever process comes first fills it."""
  folder = tmp_path_factory.getbasetemp()
  if worker_id != "master":
    folder = folder.parent  # shared by the processes of pytest-xdist
  return folder / "cache"


@pytest.fixture(scope="session")
def config(cache_dir: pathlib.Path) -> pipeline.Data:
  """Return the default `data` section, prepared."""
  fields = base.get_config().data.to_dict() | {"cache_dir": str(cache_dir)}
  config = pipeline.Data(**fields)
  pipeline.prepare(config)
  return config
