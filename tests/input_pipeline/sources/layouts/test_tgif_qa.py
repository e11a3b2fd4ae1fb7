"""TGIF-QA in the files of its release, with GIFs."""

import pytest

from input_pipeline import faults
from input_pipeline.videos import clips
from tests.input_pipeline.sources.layouts import opened
from tests.input_pipeline.videos import made

_NAME = "tumblr_nk172bbdPI1u1lr18o1_250"
_OPTIONS = ("stuff marshmallow", "hold a phone", "fall over", "talk", "flap")
_COLUMNS = "gif_name\tquestion\ta1\ta2\ta3\ta4\ta5\tanswer\tvid_id\tkey\n"
_QUESTION = "What does the butterfly do 10 or more than 10 times ?"


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "tgif"
  options = "\t".join(_OPTIONS)
  opened.write(
    folder,
    {
      "Train_action_question.csv": _COLUMNS
      + f"{_NAME}\t{_QUESTION}\t{options}\t4\tACTION4\t10\n"
      + f"{_NAME}\t{_QUESTION}\t{options}\t5\tACTION4\t11\n",
      "Test_frameqa_question.csv": (
        "gif_name\tquestion\tanswer\ttype\tvid_id\tkey\n"
        f"{_NAME}\twhat is placed in the cone ?\tcookie\t0\tFRAMEQA1\t1\n"
      ),
      "Test_count_question.csv": (
        "gif_name\tquestion\tanswer\tvid_id\tkey\n"
        f"{_NAME}\tHow many times does the cat blink ?\t3\tCOUNT1\t1\n"
      ),
    },
  )
  (folder / "gifs").mkdir()
  gif = made.video(3, format="gif", codec="gif", fps=10)
  (folder / "gifs" / f"{_NAME}.gif").write_bytes(gif)
  return folder


def test_options(folder):
  records = opened.records(folder, "tgif_qa.action@train")
  assert records[0].texts["en"] == (_QUESTION,)
  assert opened.columns(records, "answer", "image")[0] == (
    *(4, f"gifs/{_NAME}.gif"),
  )
  assert clips.first_size(records[0].image) == (made.HEIGHT, made.WIDTH)
  options = opened.records(folder, "tgif_qa.action@train", caption=("options",))
  assert options[0].texts["en"] == _OPTIONS
  with pytest.raises(faults.ExampleError, match="must be 0 to 4; got 5"):
    records[1]


def test_words_and_numbers(folder):
  words = opened.records(folder, "tgif_qa.frame@test")
  names = ("question", "answer", "answer_type")
  assert opened.columns(words, *names) == [
    ("what is placed in the cone ?", "cookie", "object")
  ]
  counts = opened.records(folder, "tgif_qa.count@test")
  assert opened.columns(counts, "answer") == [(3,)]


def test_an_answer_that_is_no_number(folder):
  path = folder / "Test_count_question.csv"
  path.write_text(path.read_text().replace("\t3\t", "\tthree\t"))
  with pytest.raises(
    ValueError, match="numbers from .* in Test_count_question"
  ):
    opened.records(folder, "tgif_qa.count@test")
