"""Emoji of four artists: splits, names, and drawings that are left out."""

import collections
import json

import numpy as np
import pytest
from PIL import Image

from experiments.parts import emoji_styles
from input_pipeline.sources import prepared

NUM = 60
ARTISTS = (*emoji_styles.TRAIN, emoji_styles.HELD_OUT)


def _write(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value))


def _drawing(number, artist):
  # Emoji 0 and 1 are drawn alike by every artist.
  left = 2 * max(number, 1) % 90 + 1
  return {
    "body": f'<rect x="{left}" y="{number // 45 * 30 + 1}" width="9"'
    f' height="{10 + 20 * ARTISTS.index(artist)}" fill="#123"/>'
  }


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
  folder = tmp_path_factory.mktemp("packages")
  code = {n: f"{0x1F600 + n:X}" for n in range(NUM)}
  for artist in ARTISTS:
    package = folder / f"iconify-json-{artist}" / "package"
    drawn = {f"icon-{n}": _drawing(n, artist) for n in code}
    characters = {code[n].lower() + "-fe0f": f"icon-{n}" for n in code}
    if artist == "noto":
      del characters[code[2].lower() + "-fe0f"]  # one that it does not draw
    tone = {f"{code[3].lower()}-1f3fb": "tone"}
    drawn["tone"] = _drawing(NUM, artist)
    _write(package / "icons.json", {"icons": drawn, "width": 99, "height": 99})
    _write(package / "chars.json", characters | tone)
    _write(package / "package.json", {"version": "1", "license": "MIT"})
  package = folder / "emojibase-data" / "package"
  for language in emoji_styles.LANGUAGES:
    listed = [
      {
        "hexcode": code[n],
        "label": f"{language} {n}",
        "tags": ["a", "b"],
        "group": 0,
        "subgroup": 1,
      }
      for n in code
    ]
    skin = {"hexcode": f"{code[3]}-1F3FB", "label": f"{language} 3 light"}
    listed[3]["skins"] = [skin]
    _write(package / language / "data.json", listed)
  meta = {"groups": {"0": "smileys"}, "subgroups": {"1": "smiling"}}
  _write(package / "meta" / "groups.json", meta)
  _write(package / "package.json", {"version": "2", "license": "MIT"})
  return folder


def test_splits(packages, tmp_path):
  facts = emoji_styles.make(packages, tmp_path / "out")
  rows = {
    split: [
      json.loads(line)
      for line in (tmp_path / "out" / f"{split}.jsonl").read_text().splitlines()
    ]
    for split in emoji_styles.SPLITS
  }
  assert facts["pictures"] == {k: len(v) for k, v in rows.items()}
  names = {
    split: {row["caption"] for row in listed} for split, listed in rows.items()
  }
  # The emoji that one artist does not draw is nowhere.
  assert "en 2" not in set.union(*names.values())
  # Each trained name is drawn by two artists, and by a third in val or test.
  drawn = collections.Counter(row["caption"] for row in rows["train"])
  assert set(drawn.values()) == {2}
  held_out = rows["val"] + rows["test"]
  assert {row["caption"] for row in held_out} <= set(drawn)
  trained = {row["uid"] for row in rows["train"]}
  assert not trained & {row["uid"] for row in held_out}
  assert not names["val"] & names["test"]
  assert not names["unseen"] & set(drawn)
  assert names["style"] <= set(drawn)
  artists = {split: {row["artist"] for row in x} for split, x in rows.items()}
  assert artists["style"] == {emoji_styles.HELD_OUT}
  assert emoji_styles.HELD_OUT not in artists["train"] | artists["test"]
  # Emoji that are drawn alike are no candidates.
  assert not {"en 0", "en 1"} & (names["val"] | names["test"] | names["style"])
  # Skin tones follow their concept, and are trained alone.
  if "en 3" in drawn:
    assert "en 3 light" in drawn
  assert "en 3 light" not in names["test"] | names["val"] | names["style"]


def test_languages_and_pictures(packages, tmp_path):
  emoji_styles.make(packages, tmp_path)
  english = [
    json.loads(line)
    for line in (tmp_path / "test.jsonl").read_text().splitlines()
  ]
  records = prepared.records(tmp_path / emoji_styles.RECORDS, "test")
  assert len(records) == len(english)
  for record, row in zip(records, english, strict=True):
    assert record.key == row["uid"]
    assert {*record.texts} == {*emoji_styles.LANGUAGES}
    assert record.texts["en"] == (row["caption"],)
    assert record.texts["de"] == (row["caption"].replace("en ", "de "),)
  image = np.asarray(Image.open(tmp_path / english[0]["image"]))
  assert image.shape == (emoji_styles.SIZE, emoji_styles.SIZE, 3)
  assert image.min() < 60
  assert image.max() == 255
  before = (tmp_path / "facts.json").stat().st_mtime_ns
  emoji_styles.make(packages, tmp_path)
  assert (tmp_path / "facts.json").stat().st_mtime_ns == before


def test_tags_are_those_of_a_language(packages):
  tags = emoji_styles.read_tags(packages, "de")
  assert len(tags) == NUM + 1
  # Tags of an emoji are its tones' too.
  assert tags["1F603"] == tags["1F603-1F3FB"] == ("a", "b")


def test_a_missing_package_is_named(packages, tmp_path):
  with pytest.raises(FileNotFoundError, match="must hold emojibase-data/pack"):
    emoji_styles.make(tmp_path, tmp_path / "out")
