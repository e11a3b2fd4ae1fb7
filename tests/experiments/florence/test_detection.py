"""Icons on photographs: boxes are those of pixels, held-out names are apart."""

import numpy as np
import pytest

from experiments.curation import icon_sets
from experiments.florence.detection import config as config_file
from experiments.florence.detection import prepare
from runtime.storage import jsonl
from training import config as config_lib

RNG = np.random.default_rng(0)
NAMES = [f"thing {letter}" for letter in "abcdefghijklmnop"]


def _icon(name: str, color: str) -> icon_sets.Icon:
  body = f'<rect x="4" y="2" width="8" height="12" fill="{color}"/>'
  return icon_sets.Icon("set", name, body, left=0, top=0, width=16, height=16)


ICONS = {name: [_icon(name, "#f00"), _icon(name, "#e00")] for name in NAMES}


def test_a_box_is_around_its_icon():
  black = [np.zeros((200, 150, 3), np.uint8)]
  for _ in range(10):
    picture, boxes, labels = prepare.compose(RNG, ICONS, NAMES, black, 3)
    assert picture.size == (prepare.SIZE, prepare.SIZE)
    assert len(boxes) == len(labels) > 0
    is_red = np.asarray(picture)[..., 0] > 127
    inside = np.zeros_like(is_red)
    for left, top, right, bottom in boxes:
      assert is_red[top:bottom, left:right].mean() > 0.9
      inside[top:bottom, left:right] = True
    assert not (is_red & ~inside).any()


def test_names_and_photographs_of_the_test_are_in_no_other_file(tmp_path):
  train, test = (
    [np.full((140, 140, 3), level, np.uint8)] for level in (10, 200)
  )
  sizes = {"train": 8, "test": 6, "pairs": 8}
  counts = prepare.make(ICONS, train, test, tmp_path, sizes)
  assert counts["train_names"] + counts["test_names"] == len(NAMES)
  rows = {name: list(jsonl.read(tmp_path / f"{name}.jsonl")) for name in sizes}
  assert {name: len(some) for name, some in rows.items()} == sizes
  tested = {label for row in rows["test"] for label in row["labels"]}
  seen = {label for row in rows["train"] for label in row["labels"]}
  seen |= {row["caption"] for row in rows["pairs"]}
  assert tested
  assert not tested & seen
  assert tested <= {*(tmp_path / "names.txt").read_text().splitlines()}


@pytest.mark.parametrize("variant", ["pairs", "boxes", "trained", "still"])
def test_configs_can_be_made(variant):
  config = config_lib.checked(config_file.get_config(variant).to_dict())
  assert config.detection.is_on == (variant != "pairs")
