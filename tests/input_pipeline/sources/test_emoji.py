"""The splits keep what they promise, checked on the pictures themselves."""

import collections
import pathlib
import sys

import numpy as np
import pytest

from input_pipeline.sources import emoji
from tests.input_pipeline import splits as splits_lib

HELD_OUT = ("compositional", "unseen_concept")


@pytest.fixture(scope="module")
def splits(config) -> dict[str, splits_lib.Examples]:
  return {name: splits_lib.read_split(config, name) for name in emoji.SPLITS}


@pytest.fixture(scope="module")
def entries(splits) -> dict[str, emoji.Entry]:
  """Return key -> entry with concept and split, from the stored pictures."""
  images = {
    key: image
    for split in splits.values()
    for key, image in zip(split.keys, split.images, strict=True)
  }
  bare = emoji.read_entries()
  stacked = np.stack([images[entry.key] for entry in bare])
  return {entry.key: entry for entry in emoji.assign_splits(bare, stacked)}


def test_counts(splits):
  # requirements.txt holds the packages to versions with these drawings.
  counts = {name: len(split.keys) for name, split in splits.items()}
  assert counts == {
    "train": 3102,
    "compositional": 304,
    "unseen_concept": 240,
    "excluded": 307,
  }
  assert sum(counts.values()) == 3953


def test_stored_splits_are_those_of_the_rule(splits, entries):
  for name, split in splits.items():
    assert dict.fromkeys(split.keys, name) == {
      key: entries[key].split for key in split.keys
    }


def test_every_name_in_every_language(splits):
  for split in splits.values():
    assert set(split.texts) == set(emoji.LANGUAGES)
    for names in split.texts.values():
      assert all(names)
      assert not any("_" in name or ":" in name for name in names)


def test_names_are_readable(entries):
  texts = entries["1F469-1F3FE-200D-1F692"].texts
  assert texts["en"] == "woman firefighter medium-dark skin tone"
  assert texts["de"] == "feuerwehrfrau mitteldunkle hautfarbe"
  assert texts["zh"] == "女消防员 中等深肤色"


def test_no_picture_in_two_splits(splits):
  homes = collections.defaultdict(set)
  for name, split in splits.items():
    if name != "excluded":
      for image in split.images:
        homes[image.tobytes()].add(name)
  assert all(len(names) == 1 for names in homes.values())


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_pictures_are_far_from_all_others(splits, name):
  # Stronger than being different: rounding cannot make the difference.
  others = [
    image
    for other, split in splits.items()
    if other not in (name, "excluded")
    for image in split.images
  ]
  held_out = list(splits[name].images)
  groups = emoji.group_drawings(np.stack(held_out + others))
  alone = {group[0] for group in groups if len(group) == 1}
  assert set(range(len(held_out))) <= alone


def test_no_name_in_two_splits(splits):
  for language in emoji.LANGUAGES:
    names = [
      name.lower()
      for split in splits.values()
      for name in split.texts[language]
    ]
    assert len(set(names)) == len(names) == 3953


def test_unseen_concepts_share_nothing_with_training(splits, entries):
  unseen = [entries[key] for key in splits["unseen_concept"].keys]
  rest = [
    entries[key]
    for name in ("train", "compositional")
    for key in splits[name].keys
  ]
  assert len({entry.concept for entry in unseen}) == len(unseen) >= 240
  assert not any(entry.tones for entry in unseen)
  for attribute in ("concept", "family"):
    assert not {getattr(entry, attribute) for entry in unseen} & {
      getattr(entry, attribute) for entry in rest
    }
  # Without the names: the code points, tones taken out.
  assert not {emoji._TONES.sub("", emoji._emoji(e.key)) for e in unseen} & {
    emoji._TONES.sub("", emoji._emoji(e.key)) for e in rest
  }


def test_compositional_variants_have_their_base_in_training(splits, entries):
  bases = {
    entries[key].family
    for key in splits["train"].keys
    if not entries[key].tones
  }
  kinds = collections.Counter()
  for key in splits["compositional"].keys:
    entry = entries[key]
    assert entry.tones
    assert entry.family in bases
    kinds[entry.family, len(entry.tones) > 1] += 1
  # One single tone and one mixture a family at most.
  assert set(kinds.values()) == {1}
  assert any(mixed for _, mixed in kinds)


def test_all_five_tones_are_trained_and_held_out(splits, entries):
  for name in ("train", "compositional"):
    tones = set().union(*(entries[key].tones for key in splits[name].keys))
    assert tones == {chr(code) for code in range(0x1F3FB, 0x1F400)}


def _images(*levels: int) -> np.ndarray:
  return np.stack([np.full((64, 64, 3), level, np.uint8) for level in levels])


def test_group_drawings_within_tolerance():
  images = _images(0, 100, 108, 116, 255, 125)
  # 100, 108 and 116 are linked; 125 is one level too far; 0 - 255 must not
  # wrap around.
  assert emoji.group_drawings(images) == [[0], [1, 2, 3], [4], [5]]


def test_group_drawings_sees_a_single_pixel():
  images = _images(200, 200)
  images[1, 63, 0, 2] -= 9
  assert emoji.group_drawings(images) == [[0], [1]]
  images[1, 63, 0, 2] += 1
  assert emoji.group_drawings(images) == [[0, 1]]


def test_same_drawing_of_a_held_out_variant_is_excluded(monkeypatch):
  """Two families drawn alike: what one holds out is not trained in the other.

  A toneless emoji and five tones of it, twice, each pair with one picture.
  """
  tones = ["", *(f"-1F3F{digit}" for digit in "BCDEF")]
  names = [
    "",
    *(
      f" {tone} skin tone"
      for tone in ("light", "medium-light", "medium", "medium-dark", "dark")
    ),
  ]
  entries = [
    emoji.Entry(
      key=f"{base}{tone}",
      svg_path=pathlib.Path(),
      texts={"en": f"{word}{name}"},
    )
    for base, word in (("1F468", "cook"), ("1F469", "man cook"))
    for tone, name in zip(tones, names, strict=True)
  ]
  images = _images(*(range(0, 240, 40)), *(range(0, 240, 40)))
  monkeypatch.setattr(emoji, "NUM_UNSEEN", 0)
  got = emoji.assign_splits(entries, images)
  monkeypatch.setattr(emoji, "NUM_UNSEEN", 1)
  unseen = emoji.assign_splits(entries, images)

  assert {entry.concept for entry in got} == {"cook"}
  split = np.array([entry.split for entry in got]).reshape(2, 6)
  assert list(split[:, 0]) == ["train", "train"]
  for row in (0, 1):
    (column,) = np.flatnonzero(split[row] == "compositional")
    assert split[1 - row, column] == "excluded"
  assert np.count_nonzero(split == "train") == 8

  assert unseen[0].split == "unseen_concept"
  assert {entry.split for entry in unseen[1:]} == {"excluded"}


def test_missing_package(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "resvg_py", None)
  with pytest.raises(
    ModuleNotFoundError, match="pip install resvg-py.*requirements.txt"
  ):
    emoji.prepare(tmp_path, 64)
  assert not list(tmp_path.iterdir())
