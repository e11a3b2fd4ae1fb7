"""MSR-VTT in the files of its releases: captions, questions, choices."""

import json

import pytest

from input_pipeline import faults
from input_pipeline.videos import clips
from tests.input_pipeline.sources.layouts import opened
from tests.input_pipeline.videos import made

_DATA = {
  "info": {"year": "2016"},
  "videos": [
    {"video_id": "video0", "category": 9, "split": "train", "id": 0},
    {"video_id": "video1", "category": 3, "split": "validate", "id": 1},
    {"video_id": "video7020", "category": 3, "split": "test", "id": 7020},
  ],
  "sentences": [
    {"caption": "a car is shown", "video_id": "video0", "sen_id": 0},
    {"caption": "a man sings", "video_id": "video7020", "sen_id": 1},
    {"caption": "a fast car", "video_id": "video0", "sen_id": 2},
    {"caption": "a dog runs", "video_id": "video1", "sen_id": 3},
  ],
}


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "msrvtt"
  questions = [
    {
      "answer": "couch",
      "category_id": 14,
      "id": 158581,
      "question": "What are three people sitting on?",
      "video_id": 7020,
    }
  ]
  choices = [
    {
      "qid": 0,
      "clip_name": "video7020",
      "options": ["a cat", "a dog", "a man sings", "rain", "a car"],
      "answer": 2,
    },
    {"qid": 1, "clip_name": "video0", "options": ["a", "b"], "answer": 2},
  ]
  opened.write(
    folder,
    {
      "MSRVTT_data.json": json.dumps(_DATA),
      "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo1\nvideo2\n",
      "MSRVTT_train.7k.csv": "video_id\nvideo0\n",
      "MSRVTT_JSFUSION_test.csv": (
        "key,vid_key,video_id,sentence\n"
        'ret0,msr7020,video7020,"a woman, creating a fondant"\n'
      ),
      "test_qa.json": json.dumps(questions),
      "txt/msrvtt_retrieval_mc_test.jsonl": "".join(
        json.dumps(choice) + "\n" for choice in choices
      ),
    },
  )
  (folder / "MSRVTT_Videos").mkdir()
  for name in ("video0", "video1", "video7020"):
    (folder / "MSRVTT_Videos" / f"{name}.mp4").write_bytes(made.video(3))
  return folder


def test_captions_of_1k_a(folder):
  records = opened.records(folder, "msrvtt.captions@train")
  assert records[0].texts["en"] == ("a car is shown", "a fast car")
  assert records[0].key == "MSRVTT_Videos/video0.mp4"
  assert clips.first_size(records[0].image) == (made.HEIGHT, made.WIDTH)
  assert records[1].texts["en"] == ("a dog runs",)
  with pytest.raises(faults.ExampleError) as caught:
    records[2]
  assert caught.value.kind == "caption_missing"
  assert len(opened.records(folder, "msrvtt.captions@train_7k")) == 1
  test = opened.records(folder, "msrvtt.captions@test")
  assert opened.captions(test) == [("a woman, creating a fondant",)]


def test_captions_of_the_official_split(folder):
  for split, text in (("validate", "a dog runs"), ("test", "a man sings")):
    records = opened.records(folder, f"msrvtt.official@{split}")
    assert opened.captions(records) == [(text,)]


def test_questions(folder):
  records = opened.records(folder, "msrvtt.qa@test")
  names = ("image", "question", "answer", "answer_type")
  question = "What are three people sitting on?"
  assert opened.columns(records, *names) == [
    ("MSRVTT_Videos/video7020.mp4", question, "couch", "what")
  ]
  assert records[0].texts["en"] == (question,)
  answers = opened.records(folder, "msrvtt.qa@test", caption=("answer",))
  assert answers[0].texts["en"] == ("couch",)


def test_multiple_choice(folder):
  records = opened.records(folder, "msrvtt.choice@")
  assert records[0].texts["en"] == ("a man sings",)
  options = opened.records(folder, "msrvtt.choice@", caption=("options",))
  assert options[0].texts["en"] == (
    *("a cat", "a dog", "a man sings", "rain", "a car"),
  )
  with pytest.raises(
    faults.ExampleError, match="no index of its options; got 2"
  ):
    records[1]


def test_videos_that_are_missing_or_twice_there(folder):
  (folder / "MSRVTT_Videos" / "video1.mp4").unlink()
  (folder / "copy").mkdir()
  (folder / "copy" / "video0.webm").write_bytes(made.video(3))
  records = opened.records(folder, "msrvtt.captions@train")
  for index, kind in ((0, "member_twice"), (1, "file_missing")):
    with pytest.raises(faults.ExampleError) as caught:
      records[index]
    assert caught.value.kind == kind


def test_another_form_of_a_file(folder):
  (folder / "MSRVTT_JSFUSION_test.csv").write_text("key,sentence\nret0,a cat\n")
  with pytest.raises(
    ValueError, match="has no column video_id among key, sent"
  ):
    opened.records(folder, "msrvtt.captions@test")
  (folder / "test_qa.json").write_text('[{"video_id": 1}]')
  with pytest.raises(ValueError, match="test_qa.json in another form"):
    opened.records(folder, "msrvtt.qa@test")
