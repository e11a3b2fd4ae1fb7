"""Data and config of Florence's videos in miniature."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.florence.video import config as config_file
from experiments.florence.video import prepare
from training import config as config_lib

_ICONS = ("a red key", "two blue moons", "a white car")


@pytest.fixture
def folder(tmp_path):
  """Return a folder of moving icons: pictures, and captions of videos."""
  (tmp_path / "pairs").mkdir()
  lines = []
  for number, caption in enumerate(_ICONS):
    pixels = np.full((8, 8, 3), 60 * number, np.uint8)
    image = f"pairs/{number}.png"
    Image.fromarray(pixels).save(tmp_path / image)
    lines.append(json.dumps({"image": image, "caption": caption}) + "\n")
  (tmp_path / "pairs.jsonl").write_text("".join(lines))
  splits = ("train", "validate", "test")
  ids = [f"video{i}" for i in range(len(splits))]
  videos = [
    {"video_id": name, "split": split}
    for name, split in zip(ids, splits, strict=True)
  ]
  third = {
    "train": "x",
    "validate": "y",
    "test": f"{_ICONS[1]} and {_ICONS[0]}",
  }
  sentences = [
    {"video_id": name, "caption": caption}
    for name, split in zip(ids, splits, strict=True)
    for caption in ("first", "second", third[split], "fourth")
  ]
  (tmp_path / "MSRVTT_data.json").write_text(
    json.dumps({"videos": videos, "sentences": sentences})
  )
  return tmp_path


def _rows(folder, name):
  return [json.loads(x) for x in (folder / name).read_text().splitlines()]


def test_pictures_side_by_side_and_captions_of_videos(folder):
  counts = prepare.make(folder, 40)
  assert counts == {"pictures": 43, "validate": 1, "test": 1}
  (row,) = _rows(folder, "test.jsonl")
  assert row == {
    "video": "videos/video2.mp4",
    "caption": "two blue moons and a red key",
  }
  levels = {caption: 60 * i for i, caption in enumerate(_ICONS)}
  seen = set()
  for row in _rows(folder, "pictures.jsonl")[3:]:
    left, right = row["caption"].split(" and ")
    pixels = np.asarray(Image.open(folder / row["image"]))
    assert pixels.shape == (8, 8, 3)
    assert pixels[0, 0, 0] == levels[left]
    assert pixels[0, -1, 0] == levels[right]
    seen.add(frozenset((left, right)))
  assert frozenset(_ICONS[:2]) not in seen
  assert frozenset(_ICONS[1:]) in seen


@pytest.mark.parametrize("split", ["pictures", "test"])
def test_sets_fit_the_model(split):
  config = config_lib.from_mapping(config_file.get_config(split).to_dict())
  config.evaluate.check()
  config.evaluate.check_videos(config.model)
  assert {"one_frame", "frames", "inflated"} <= {*config.evaluate.sets}
