"""Patches of CLIP-RSICD's miniature, cut from a small picture of a globe."""

import collections

import numpy as np
import pytest

from experiments.clip_rsicd import prepare
from input_pipeline.images import image_ops
from tests.input_pipeline.sources.layouts import opened

_HEIGHT = 128
_SEA, _SHALLOWS = (5, 15, 40), (28, 70, 128)
_COLOURS = {
  "ice": (245, 250, 252),
  "sand": (198, 166, 122),
  "red soil": (112, 74, 48),
  "forest": (27, 42, 11),
  "grassland": (57, 60, 29),
  "dry land": (108, 88, 56),
}


@pytest.fixture(scope="module")
def globe():
  """Return a picture of six continents from pole to pole, and its land."""
  pixels = np.full((_HEIGHT, 2 * _HEIGHT, 3), _SEA, np.uint8)
  for number, colour in enumerate(_COLOURS.values()):
    left = 40 * number + 8
    pixels[:, left - 4 : left + 28] = _SHALLOWS
    pixels[:, left : left + 24] = colour
  land = (pixels != _SEA).any(axis=2) & (pixels != _SHALLOWS).any(axis=2)
  return pixels, land


def test_kinds_follow_from_colours():
  pixels = np.array([*_COLOURS.values(), (2, 7, 3), _SHALLOWS])
  kinds = prepare.kinds_of(pixels)
  assert [prepare.KINDS[i] for i in kinds[:-2]] == [*_COLOURS]
  assert kinds[-2:].tolist() == [-1, -1]
  assert set(prepare.KINDS) == set(prepare._SCENES)


def _facts(land, kinds=None, **fields):
  kinds = dict.fromkeys(prepare.KINDS, 0.0) | (kinds or {})
  ordered = dict(sorted(kinds.items(), key=lambda item: -item[1]))
  fields = {"blue": 30.0, "water": 0.0, "latitude": 50.0} | fields
  return prepare.Facts(land=land, is_inside=False, kinds=ordered, **fields)


@pytest.mark.parametrize(
  ("facts", "scene"),
  [
    (_facts(0.0), "ocean"),
    (_facts(0.0, blue=90.0), "shallows"),
    (_facts(0.5, {"sand": 1.0}), "desertcoast"),
    (_facts(0.5, {"red soil": 0.6, "ice": 0.4}), "desertcoast"),
    (_facts(1.0, {"ice": 0.9}), "ice"),
    (_facts(1.0, {"ice": 0.4, "forest": 0.5}), "snowline"),
    (_facts(1.0, {"sand": 0.4, "red soil": 0.4}), "desert"),
    (_facts(1.0, {"sand": 0.4, "dry land": 0.4}), "dryland"),
    (_facts(1.0, {"grassland": 0.5, "dry land": 0.5}), "savanna"),
    (_facts(1.0, {"forest": 0.5, "dry land": 0.5}), None),
  ],
)
def test_scenes_follow_from_facts(facts, scene):
  assert prepare.scene_of(facts) == scene


def test_captions_say_the_facts():
  facts = _facts(0.5, {"sand": 0.8, "dry land": 0.2}, latitude=-10.0)
  assert prepare.captions("desertcoast", facts) == [
    "an aerial photograph of a coast of desert",
    "a coast of desert in the tropics",
    "half of the picture is land",
    "mostly sand and dry land beside deep blue sea",
    "a coast of desert: mostly sand and dry land, deep blue sea",
  ]
  lakes = _facts(1.0, {"forest": 1.0}, water=0.3)
  texts = prepare.captions("forest", lakes)
  assert texts[2:4] == [
    "all of the picture is land",
    "mostly forest and lakes",
  ]
  assert prepare.captions("ocean", _facts(0.0))[2:4] == [
    "none of the picture is land",
    "deep blue sea",
  ]


def test_no_pixel_is_in_two_splits():
  owners = np.zeros((_HEIGHT, 2 * _HEIGHT), int)
  counts = collections.Counter()
  for split, (left, top, right, bottom) in prepare.patches(_HEIGHT):
    assert 0 <= left < right <= 2 * _HEIGHT
    counts[split] += 1
    owners[top:bottom, left:right] |= 1 << [*prepare.MOST].index(split)
  assert set(np.unique(owners)) == {0, 1, 2, 4}
  assert counts["train"] > counts["test"] > counts["val"]


def test_the_layout_reads_what_is_written(globe, tmp_path, monkeypatch):
  monkeypatch.setattr(prepare, "STEPS", 32)
  monkeypatch.setattr(prepare, "MOST", {"train": 9, "val": 2, "test": 2})
  out = tmp_path / "rsicd"
  counts = prepare.make(*globe, out)
  for split, scenes in counts.items():
    assert max(scenes.values()) == prepare.MOST[split]
    records = opened.records(out, f"rsicd.scenes@{split}")
    labels = [scene for (scene,) in opened.columns(records, "scene")]
    assert collections.Counter(labels) == scenes
    assert {"icecoast", "desertcoast", "greencoast", "ocean"} <= {*scenes}
    for scene, texts in zip(labels, opened.captions(records), strict=True):
      assert len(texts) == 5
      assert prepare.PHRASES[scene] in texts[0]
    pixels = image_ops.decode(records[0].image)
    assert pixels.shape == (prepare.SIDE, prepare.SIDE, 3)
