"""Icons on photographs: boxes are those of pixels, held-out names are apart."""

import json

import numpy as np
import pytest

from experiments.florence.detection import config as config_file
from experiments.florence.detection import prepare
from experiments.parts import icon_sets, placed_icons
from runtime.storage import jsonl
from training import config as config_lib

RNG = np.random.default_rng(0)
NAMES = [f"thing {letter}" for letter in "abcdefghijklmnop"]


def _icon(name: str, color: str) -> icon_sets.Icon:
  body = f'<rect x="4" y="2" width="8" height="12" fill="{color}"/>'
  return icon_sets.Icon("set", name, body, left=0, top=0, width=16, height=16)


ICONS = {name: [_icon(name, "#f00"), _icon(name, "#e00")] for name in NAMES}


def test_a_part_around_an_icon_has_it_whole():
  shares = []
  for _ in range(200):
    corner = RNG.integers(0, placed_icons.SIZE - 24, 2)
    far = RNG.integers(corner + 8, placed_icons.SIZE + 1)
    part = prepare.around(RNG, [*corner.tolist(), *far.tolist()])
    assert min(part) >= 0
    assert max(part) <= placed_icons.SIZE
    assert (np.array(part[:2]) <= corner + 1e-9).all()
    assert (np.array(part[2:]) >= far - 1e-9).all()
    sides = np.array(part[2:]) - part[:2]
    shares.append(np.prod((far - corner) / sides))
  assert max(shares) > 0.9
  assert min(shares) < 0.2


def test_names_and_photographs_of_a_split_are_in_no_other_file(tmp_path):
  photos = {
    split: [np.full((140, 140, 3), level, np.uint8)]
    for split, level in (("train", 10), ("valid", 100), ("test", 200))
  }
  sizes = {"train": 8, "valid": 4, "test": 6, "pairs": 8}
  counts = prepare.make(ICONS, photos, tmp_path, sizes)
  names = json.loads((tmp_path / prepare.NAMES).read_text())
  assert {**names, "pairs": []}.keys() == sizes.keys()
  assert sorted(names["train"] + names["valid"] + names["test"]) == NAMES
  assert names["pairs"] == names["train"]
  for split, num in sizes.items():
    rows = [*jsonl.read(tmp_path / f"{split}.jsonl")]
    assert len(rows) == num == counts[split]
    used = {name for row in rows for name in row.get("labels", [])}
    used |= {row["caption"] for row in rows if "caption" in row}
    assert used
    assert used <= {*names[split]}


@pytest.mark.parametrize("variant", ["pairs", "boxes", "trained", "still"])
def test_configs_can_be_made(variant):
  config = config_lib.checked(config_file.get_config(variant).to_dict())
  assert config.detection.is_on == (variant != "pairs")
