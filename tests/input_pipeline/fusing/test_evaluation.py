"""Splits of data.tests: every video once, every question once, in order."""

import dataclasses
import json

import numpy as np
import pytest

from input_pipeline.fusing import evaluation
from input_pipeline.images import image_protocols
from tests.input_pipeline.fusing import fixture
from tests.input_pipeline.videos import made

_HALF = (0.5, 0.5, 0.5)
_PROTOCOL = image_protocols.Protocol(
  *("test", "", 32, "squash", 32, "bilinear", "even", _HALF, _HALF)
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  root = tmp_path_factory.mktemp("tests")
  fixture.msrvtt(root / "msrvtt")
  fixture.tgif(root / "tgif")
  return root


def _open(root, source, num_clips=3, **fields):
  config = fixture.config(
    root, "retrieval", source, tests={"test": source}, **fields
  )
  return evaluation.open_test(
    config.data, "test", protocol=_PROTOCOL, num_clips=num_clips
  )


def _msrvtt(root, name, split, **fields):
  return {
    "format": "layout",
    "layout": f"msrvtt.{name}",
    "path": str(root / "msrvtt"),
    "split": split,
  } | fields


def _numbers(images):
  """Return the number that each frame shows, nested as the images are."""
  return [
    [[made.number(frame) for frame in clip] for clip in row] for row in images
  ]


def test_videos_with_all_their_captions(root):
  split = _open(root, _msrvtt(root, "captions", "train_7k"))
  assert split.kind == evaluation.RETRIEVAL
  videos = evaluation.Videos(split)
  assert videos.keys == tuple(f"videos/video{i}.mp4" for i in range(4))
  assert videos.texts[:3] == ("clip 0", "film 0", "clip 1")
  assert videos.owners.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
  images = videos.images(np.array([2, 0]))
  assert images.shape == (2, 3, 2, 32, 32, 3)
  # 20 frames at 10 a second: clips of 0.4 s begin at 0, 0.53 and 1.07 s.
  starts = (0, 5, 10)
  for row, first in zip(_numbers(images), (2, 0), strict=True):
    expected = [[first * 40 + x, first * 40 + x + 2] for x in starts]
    assert row == expected
  assert not videos.broken
  assert not videos.left_out


def test_rows_of_one_video_are_one_video(tmp_path):
  rows = [("a", "one"), ("b", "two"), ("a", "three"), ("c", ""), ("d", "four")]
  for i, name in enumerate("abc"):
    (tmp_path / f"{name}.mp4").write_bytes(fixture.video(i))
  (tmp_path / "d.mp4").write_bytes(b"no video")
  text = "".join(
    json.dumps({"video": f"{name}.mp4", "caption": caption}) + "\n"
    for name, caption in rows
  )
  (tmp_path / "captions.jsonl").write_text(text)
  source = {"format": "table", "path": str(tmp_path)}
  videos = evaluation.Videos(_open(tmp_path, source, num_clips=0))
  assert videos.texts == ("one", "three", "two", "four")
  assert videos.owners.tolist() == [0, 0, 1, 2]
  assert [error.kind for error in videos.left_out] == ["caption_missing"]
  images = videos.images([0, 1, 2])
  assert images.shape[1:3] == (2, 2)
  assert [row[0][0] // fixture.STEP for row in _numbers(images[:2])] == [0, 1]
  assert not images[2].any()
  assert {i: x.kind for i, x in videos.broken.items()} == {2: "video_broken"}


def test_every_question_once(root):
  fields = {"question_fields": fixture.TYPED}
  split = _open(root, _msrvtt(root, "qa", "test", **fields))
  assert split.kind == evaluation.ANSWERS
  left_out = []
  batches = [*evaluation.question_batches(split, 3, left_out)]
  assert [len(batch) for batch in batches] == [3, 1]
  assert {batch.images.shape for batch in batches} == {(3, 3, 2, 32, 32, 3)}
  asked = [
    (made.number(image[0, 0]) // fixture.STEP, question.text, question.answer)
    for batch in batches
    for image, question in zip(batch.images, batch.questions, strict=False)
  ]
  assert (
    asked
    == [
      (0, "what is it", "Red heart"),  # words separated by one space
      *fixture.ASKED[1:3],
      (3, "what is it", "ox"),
    ]
  )
  types = [one.answer_type for batch in batches for one in batch.questions]
  assert types == ["what", "how", "what", "what"]
  groups = [one for batch in batches for one in batch.groups]
  assert groups[0] == groups[1]
  assert len({*groups}) == 3
  # Video 9 is not there.
  assert [error.kind for error in left_out] == ["file_missing"]


def test_every_choice_once(root):
  source = {
    "format": "layout",
    "layout": "tgif_qa.action",
    "path": str(root / "tgif"),
    "split": "test",
    "question_fields": fixture.CHOICES,
  }
  split = _open(root, source)
  assert split.kind == evaluation.CHOICES
  (batch,) = evaluation.question_batches(split, 4, left_out := [])
  assert not left_out
  for i, question in enumerate(batch.questions):
    assert question.right == i
    assert question.answer == fixture.OPTIONS[i]
    assert question.texts[1] == f"what does {i} do turn"
    assert made.number(batch.images[i, 0, 0]) // fixture.STEP == i


def test_sections_that_cannot_be_tested(root):
  source = _msrvtt(root, "captions", "test")
  with pytest.raises(ValueError, match=r"data\.tests\.test\.repeat must be 1"):
    _open(root, source | {"repeat": 2})
  source = _msrvtt(root, "qa", "test")
  fields = (("question", "question"),)
  with pytest.raises(ValueError, match=r"must name answer, or answers"):
    _open(root, source | {"question_fields": fields})
  split = _open(root, _msrvtt(root, "captions", "test"))
  records = evaluation.Videos(
    dataclasses.replace(split, languages=("en", "de"))
  )
  assert len(records) == 4
  with pytest.raises(ValueError, match="none of 4 examples can be used"):
    evaluation.Videos(dataclasses.replace(split, languages=("de",)))
