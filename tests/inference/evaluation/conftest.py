"""A run of random weights, and two small sets by name, for all tests here."""

import pytest

from tests import runs
from tests.inference import fresh_run, wds_folders

LABELS = (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0, 1)
# The images are those of the test split, and more, with other labels.
TRAIN = tuple((label + i // 2) % 6 for i, label in enumerate(LABELS * 3))
CAPTIONS = [[f"{i}{'ab'[k]}" for k in range(1 + i % 2)] for i in range(9)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
  """Return a folder with a run of random weights and two sets."""
  made = tmp_path_factory.mktemp("sets")
  fresh_run.write(made / "run", runs.make_config({}))
  wds_folders.classification(made / "wds_beasts", LABELS)
  wds_folders.classification(made / "wds_beasts", TRAIN, "train")
  wds_folders.retrieval(made / "wds_views", CAPTIONS)
  return made
