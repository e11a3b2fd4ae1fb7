"""Tables of icons: names and drawings are apart as prepare.py says."""

import json
import pathlib

import pytest

from experiments.florence.unicl import config as config_file
from experiments.florence.unicl import prepare, study
from experiments.parts import icon_sets
from tests.experiments.curation import package
from training import config as config_lib

_TABLES = {"few": (2, 3), "many": (3, 2)}
_NAMES = ("red ball", "blue box", "green hat", "red box", "blue hat")


@pytest.fixture
def icons(tmp_path):
  """Return icons by name to train on, to choose on, and held out."""
  package.write(
    tmp_path / "package",
    {
      # Three sets draw two names, two sets a third, one set the others.
      "a": [x.replace(" ", "-") for x in _NAMES],
      "b": ["red-ball", "blue-box", "green-hat", "red-ball-fill"],
      "c": ["red-ball", "blue-box"],
      "v": ["red-ball", "other-thing"],
      "h": [x.replace(" ", "-") for x in _NAMES],
    },
  )
  opened = icon_sets.open_package(tmp_path / "package")
  return [prepare.by_name(opened, sets) for sets in ("abc", "v", "hx")]


def _rows(folder: pathlib.Path, table: str) -> list[dict[str, str]]:
  lines = (folder / f"{table}.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_tables(icons, tmp_path):
  made = {"tables": _TABLES, "num_known": 2, "num_new": 5}
  counts = prepare.make(*icons, tmp_path, **made)
  rows = {table: _rows(tmp_path, table) for table in counts}
  assert counts["few"] == {"pictures": 6, "names": 2}
  assert counts["many"] == {"pictures": 6, "names": 3}
  labels = {table: {x["label"] for x in some} for table, some in rows.items()}
  assert labels["few"] == labels["known"] == {"red ball", "blue box"}
  assert labels["few"] < labels["many"] == {*_NAMES[:3]}
  assert labels["val"] == {"red ball"}
  # New names have words that were trained on.
  assert labels["new"] == {"red box", "blue hat"}
  images = {table: {x["image"] for x in some} for table, some in rows.items()}
  trained = images["few"] | images["many"]
  assert not trained & (images["known"] | images["val"] | images["new"])
  assert all((tmp_path / x).exists() for some in images.values() for x in some)


def test_equal_pictures_are_not_held_out(icons, tmp_path):
  train, val, _ = icons
  made = {"tables": _TABLES, "num_known": 2}
  counts = prepare.make(train, val, train, tmp_path, **made)
  assert counts["known"]["pictures"] == 0


def test_too_few_drawings_are_named(icons, tmp_path):
  with pytest.raises(ValueError, match=r"few.jsonl needs 3 names.*3 .*got 2"):
    prepare.make(*icons, tmp_path, tables={"few": (3, 3)})


@pytest.mark.parametrize("table", prepare.TABLES)
def test_configs_can_be_made(table):
  config = config_lib.checked(config_file.get_config(table).to_dict())
  assert config.loss.needs_labels
  with pytest.raises(ValueError, match="must be one of few, some, many"):
    config_file.get_config("none")


def test_the_study_has_each_loss_table_and_seed():
  trials = study.get_study()
  assert len({tuple(trial.values()) for trial in trials}) == len(trials) == 18
