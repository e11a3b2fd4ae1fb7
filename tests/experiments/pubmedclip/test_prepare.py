"""Questions over composed icons: readable as VQA-RAD, the same each time."""

import json
import pathlib

from experiments.pubmedclip import prepare
from input_pipeline.questions import layouts
from runtime.storage import jsonl


def test_set_is_read_and_repeated(tmp_path: pathlib.Path):
  sizes = {"train": 6, "test": 2}
  for name in ("one", "two"):
    prepare.write(tmp_path / name, sizes)
  questions = layouts.read(tmp_path / "one", "vqa_rad")
  assert {k: len(v) for k, v in questions.items()} == {"train": 36, "test": 12}
  for file in ("trainset.json", "testset.json", "images/test0001.png"):
    one, two = ((tmp_path / x / file).read_bytes() for x in ("one", "two"))
    assert one == two
  images = [{q.image for q in part} for part in questions.values()]
  assert not images[0] & images[1]
  # The autoencoder sees the pictures of training alone.
  rows = jsonl.read(tmp_path / "one/captions.jsonl")
  assert {row["image"].removeprefix("images/") for row in rows} == images[0]


def test_answers_are_true(tmp_path: pathlib.Path):
  prepare.write(tmp_path / "set", {"train": 20})
  rows = json.loads((tmp_path / "set/trainset.json").read_text())
  by_image: dict[str, list[dict]] = {}
  for row in rows:
    by_image.setdefault(row["image_name"], []).append(row)
  for first, where, count, there, which, _ in by_image.values():
    assert first["answer"] in prepare.ORGANS
    assert where["answer"] in prepare.PLACES
    assert 1 <= int(count["answer"]) <= 2
    assert there["answer"] in ("Yes", "No")
    assert which["answer"] in which["question"]
