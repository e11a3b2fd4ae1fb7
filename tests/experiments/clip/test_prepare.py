"""Tables of CLIP's study: classes, rows of each table, and refused folders."""

import json

import pytest

from experiments.clip import config, labels, prepare
from runtime import failures

_SPLITS = {"train": labels.SHOTS, "val": 1, "test": 2, "style": 3}


def _write(folder, subgroups):
  """Write tables with as many rows of each subgroup as _SPLITS says."""
  folder.mkdir()
  for split, number in _SPLITS.items():
    rows = [
      {"image": f"{split}/{x}-{i}.png", "caption": f"{x} {i}", "subgroup": x}
      for x in subgroups
      for i in range(number)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(text)
  (folder / "facts.json").write_text('{"packages": {"noto": {}}}')


def _rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_have_the_class_of_their_subgroup(tmp_path):
  _write(tmp_path / "emoji", [*labels.NAMES, "place-other"])
  facts = prepare.make(tmp_path / "emoji", tmp_path / "out")
  number = len(labels.NAMES)
  assert facts["rows"] == {
    "pairs": labels.SHOTS * (number + 1),
    "shots": labels.SHOTS * number,
    "val": number,
    "test": 2 * number,
    "style": 3 * number,
  }
  assert json.loads((tmp_path / "out/facts.json").read_text()) == facts
  rows = _rows(tmp_path / "out/test.jsonl")
  assert {x["class"] for x in rows} == {*labels.CLASSES}
  names = (tmp_path / "out/classes.txt").read_text().splitlines()
  assert tuple(names) == labels.CLASSES
  assert {x["class"] for x in rows if x["subgroup"] == "food-fruit"} == {
    "fruit"
  }
  # Texts of all drawings are trained, and no label is among their columns.
  pairs = _rows(tmp_path / "out/pairs.jsonl")
  assert {x["subgroup"] for x in pairs} == {*labels.NAMES, "place-other"}
  assert all("class" not in x for x in pairs)


def test_other_subgroups_are_refused(tmp_path):
  _write(tmp_path / "emoji", [*labels.NAMES][1:] + ["new-group"])
  with pytest.raises(failures.RunError) as error:
    prepare.make(tmp_path / "emoji", tmp_path / "out")
  assert "it lacks ['alphanum'], and has others: ['new-group']" in str(
    error.value
  )
  assert not (tmp_path / "out").exists()


def test_a_folder_without_tables_is_refused(tmp_path):
  with pytest.raises(failures.RunError, match=r"train\.jsonl is missing"):
    prepare.make(tmp_path, tmp_path / "out")


def test_names_of_classes_are_unique():
  assert len({*labels.CLASSES}) == len(labels.NAMES)


def test_prompts_are_sentences_of_training():
  every = [x for some in config.PROMPTS.values() for x in some]
  assert {*every} <= {*config.TEMPLATES}
  assert config.PROMPTS["prompt"][0] in config.PROMPTS["ensemble"]
  assert "{}" not in config.PROMPTS["ensemble"]
