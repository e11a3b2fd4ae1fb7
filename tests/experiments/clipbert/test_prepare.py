"""Icons that move over photographs: what is said of a video is to be seen."""

import fractions
import json

import numpy as np
import pytest
from PIL import Image

from experiments.clipbert import prepare, real_videos, scenes
from input_pipeline.videos import video
from tests.input_pipeline.sources.layouts import opened
from tests.input_pipeline.videos import made

# Squares in the colour of their shape's number, and nothing around them.
DRAWN = {
  (shape, color, side): [Image.new("RGBA", (side, side), code)]
  for shape in range(len(scenes.SHAPES))
  for color, code in enumerate(scenes.COLORS.values())
  for side in range(scenes.SIDES[0], scenes.SIDES[1] + 1)
}
GREY = np.full((90, 120, 3), 127, np.uint8)


@pytest.mark.parametrize("move", range(len(scenes.MOVES)))
def test_icons_move_as_it_is_said(move):
  rng = np.random.default_rng(move)
  red, blue = (list(scenes.COLORS).index(name) for name in ("red", "blue"))
  both = (scenes.Scene(0, red, 1, move), scenes.Scene(1, blue, 0, move))
  frames = [np.asarray(x) for x in scenes.frames(rng, both, GREY, DRAWN)]
  assert len(frames) == 2 * scenes.SCENE_FRAMES
  first = np.stack(frames[: scenes.SCENE_FRAMES])
  second = np.stack(frames[scenes.SCENE_FRAMES :])
  for part, channel, count in ((first, 0, 2), (second, 2, 1)):
    is_icon = part.astype(int)[..., channel] > 160
    areas = {int(frame.sum()) for frame in is_icon}
    sides = {count * side**2 for side in range(22, 27)}
    # All icons are whole in each frame, and do not overlap.
    assert len(areas) == 1
    assert areas < sides
    ways = [
      len({int(np.flatnonzero(frame.any(axis))[0]) for frame in is_icon})
      for axis in (0, 1)
    ]
    moves = {"sideways": (True, False), "up and down": (False, True)}
    expected = moves.get(scenes.MOVES[move], (False, False))
    assert [number > 1 for number in ways] == list(expected)


def test_what_is_said_is_true():
  rng = np.random.default_rng(0)
  both = (scenes.Scene(5, 0, 1, 0), scenes.Scene(0, 3, 0, 2))
  assert scenes.captions(both)[0] == (
    "two red leaf icons move sideways and a blue heart stays still"
  )
  answers = {
    "what is red": "leaf",
    "what is blue": "heart",
    "which color is the leaf": "red",
    "which color is the heart": "blue",
    "how many are red": "two",
    "how many are blue": "one",
    "besides red which color is there": "blue",
    "besides blue which color is there": "red",
  }
  seen = {x for _ in range(40) for x in scenes.questions(rng, both)}
  assert dict(seen) == answers
  for _ in range(20):
    texts, right = scenes.options(rng, both)
    there = [x for x in texts if x in ("red leaf", "blue heart")]
    assert there == [texts[right]]
    assert len({*texts}) == 5


def test_files_are_in_their_layouts(tmp_path):
  sizes = {"train": 6, "validate": 2, "test": 5}
  photos = dict.fromkeys(sizes, [GREY])
  out = tmp_path / "moving"
  counts = prepare.make(DRAWN, photos, out, sizes)
  assert sum(counts["train_answers"].values()) == 4 * 6
  tests = opened.records(out, "msrvtt.captions@test")
  others = opened.records(out, "msrvtt.official@train")
  assert (len(tests), len(others)) == (5, 6)
  said = {text for texts in opened.captions(others) for text in texts}
  assert not said & {text for texts in opened.captions(tests) for text in texts}
  with video.opened(tests[0].image) as one:
    assert (one.height, one.width) == (scenes.SIZE, scenes.SIZE)
    assert one.duration == fractions.Fraction(24, scenes.FPS)
    one.check_all()
  assert len(opened.records(out, "msrvtt.qa@validate")) == 2 * 4
  for layout in ("tgif_qa.action@train", "msrvtt.choice"):
    records = opened.records(out, layout)
    for row in opened.columns(records, "options", "answer", "fault"):
      assert len(row[0]) == 5 > row[1]
      assert row[2] is None
  with pytest.raises(IndexError):
    tests[5]


def test_pictures_show_their_captions(tmp_path):
  prepare.make_pairs(DRAWN, [GREY], tmp_path, 5)
  lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
  for row in map(json.loads, lines):
    pixels = np.asarray(Image.open(tmp_path / row["image"])).reshape(-1, 3)
    color = next(x for x in scenes.COLORS if x in row["caption"].split())
    shown = Image.new("RGB", (1, 1), scenes.COLORS[color]).getpixel((0, 0))
    number = int((pixels == shown).all(1).sum())
    count = 2 if row["caption"].startswith("two") else 1
    assert number in {count * side**2 for side in range(22, 27)}


def test_drawings_of_the_package(tmp_path):
  folder = tmp_path / "package"
  (folder / "json").mkdir(parents=True)
  body = '<path fill="currentColor" d="M2 2h12v12H2z"/>'
  sets = {}
  for prefix, ending in prepare.SETS.items():
    icons = {f"{name}{ending}": {"body": body} for name in scenes.SHAPES}
    text = json.dumps({"icons": icons})
    (folder / "json" / f"{prefix}.json").write_text(text)
    sets[prefix] = {"name": prefix, "license": {"spdx": "MIT"}}
  (folder / "collections.json").write_text(json.dumps(sets))
  (folder / "package.json").write_text('{"version": "1"}')
  drawn = prepare.draw_icons(prepare.icon_sets.open_package(folder))
  assert {*drawn} == {*DRAWN}
  assert {len(icons) for icons in drawn.values()} == {len(prepare.SETS)}
  icon = drawn[0, 1, 22][0]
  middle = icon.getpixel((11, 11))
  expected = Image.new("RGBA", (1, 1), scenes.COLORS["yellow"])
  assert middle == expected.getpixel((0, 0))


def test_real_videos_are_cut_without_loss(tmp_path):
  path = tmp_path / "one_video.mp4"
  path.write_bytes(made.video(25, fps=10, gop=5))
  totals = real_videos.cut(path, tmp_path / "clips")
  assert totals == {"clips": 2, "frames": 60, "different": 0}
  names = sorted(x.name for x in (tmp_path / "clips").glob("*.mp4"))
  assert names == ["one_video_0.00.mp4", "one_video_2.00.mp4"]
  text = (tmp_path / "clips" / "one_video_2.00.txt").read_text()
  assert text == "one video from 2.0 s on"
  with video.opened((tmp_path / "clips" / names[1]).read_bytes()) as one:
    shown = [made.number(x) for _, x in one.frames([fractions.Fraction(1, 5)])]
  assert shown == [22]
  # Other frames are noticed.
  other = made.video(25, fps=10, gop=5, first=1)
  frames = [made.picture(i) for i in range(25)]
  times = [fractions.Fraction(i, 10) for i in range(25)]
  rng = np.random.default_rng(0)
  assert real_videos._compare(other, times, frames, rng) == (20, 20)
