"""Tiny videos in the layouts of MSR-VTT and TGIF-QA, with their configs."""

import csv
import io
import json
import pathlib

import ml_collections

from configs import base
from configs.parts import sources
from tests.input_pipeline.videos import made
from training import config as config_lib

NUM = 4
# Numbers of the frames of video v: from v times this on.
STEP = 40
QUESTIONS = (("question", "question"), ("answer", "answer"))
TYPED = (*QUESTIONS, ("answer_type", "answer_type"))
CHOICES = (*QUESTIONS, ("options", "options"))
# Video, question and answer of each row of training; "six" is rare.
ASKED = [
  (0, "what is it", "Red  heart"),
  (0, "how many are there", "two"),
  (1, "what is it", "red heart"),
  (2, "what is it", "dog"),
  (3, "how many are there", "six"),
]
OPTIONS = ["jump", "turn", "sit", "wave", "run"]


def video(number: int) -> bytes:
  """Return a video of 20 frames, 10 a second."""
  return made.video(20, first=STEP * number, fps=10, gop=5)


def msrvtt(folder: pathlib.Path) -> pathlib.Path:
  """Write MSR-VTT's captions and questions, in a folder that is returned."""
  (folder / "videos").mkdir(parents=True)
  for i in range(NUM):
    (folder / "videos" / f"video{i}.mp4").write_bytes(video(i))
  sentences = [
    {"video_id": f"video{i}", "caption": f"{word} {i}"}
    for i in range(NUM)
    for word in ("clip", "film")
  ]
  files = {
    "MSRVTT_data.json": json.dumps({"videos": [], "sentences": sentences}),
    "MSRVTT_train.7k.csv": "video_id\n"
    + "".join(f"video{i}\n" for i in range(NUM)),
    "MSRVTT_JSFUSION_test.csv": "video_id,sentence\n"
    + "".join(f"video{i},clip {i}\n" for i in range(NUM)),
    "train_qa.json": json.dumps(questions(ASKED)),
    "test_qa.json": json.dumps(
      questions([*ASKED[:3], (9, "what is it", "dog"), (3, "what is it", "ox")])
    ),
  }
  for name, text in files.items():
    (folder / name).write_text(text)
  return folder


def questions(asked: list[tuple[int, str, str]]) -> list[dict[str, object]]:
  """Return the content of MSRVTT-QA's file."""
  return [
    {"video_id": video, "question": question, "answer": answer}
    for video, question, answer in asked
  ]


def tgif(folder: pathlib.Path) -> pathlib.Path:
  """Write TGIF-QA's action, with GIFs, in a folder that is returned."""
  folder.mkdir(parents=True)
  text = io.StringIO()
  table = csv.writer(text, delimiter="\t")
  columns = ("gif_name", "question", *(f"a{i}" for i in range(1, 6)), "answer")
  table.writerow(columns)
  for i in range(NUM):
    data = made.video(6, first=STEP * i, fps=5, format="gif", codec="gif")
    (folder / f"g{i}.gif").write_bytes(data)
    table.writerow((f"g{i}", f"what does {i} do", *OPTIONS, i))
  for split in ("Train", "Test"):
    (folder / f"{split}_action_question.csv").write_text(text.getvalue())
  return folder


def config(
  root: pathlib.Path, task: str, source: dict[str, object], **fields: object
) -> config_lib.Config:
  """Return a config whose sources.main is `source`; `fields` are fusion's.

  Args:
    root: folder of the cache.
    task: fusion.task.
    source: fields of the source's section.
    **fields: fields of `fusion`, or "tests": sections of data.tests.
  """
  made_config = base.get_config()
  data = made_config.data
  data.sources.main = sources.source(**source)
  data.cache_dir = str(root / "cache")
  data.image_size = 32
  data.num_tokens = 24
  data.tokenizer = "bytes"
  data.augmentation.resize = "squash"
  data.video.update({"clips": 2, "frames": 2, "fps": 5.0})
  tests = fields.pop("tests", {})
  assert isinstance(tests, dict)
  data.tests = ml_collections.ConfigDict(
    {name: sources.source(**section) for name, section in tests.items()}
  )
  for name in ("answers_path", "video"):
    if name in fields:
      value = fields.pop(name)
      data.update({name: value})
  made_config.batch_size = 4
  made_config.fusion.update({"task": task} | fields)
  return config_lib.from_mapping(made_config.to_dict())
