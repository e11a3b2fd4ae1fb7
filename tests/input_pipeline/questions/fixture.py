"""Small sets in the layouts of VQA-RAD and SLAKE, written to a folder."""

import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

RAD = [
  # qid, image, question, answer, type; the first ten are for training
  *(
    (n, f"{n}.png", "Is it white? -yes/no", "Yes" if n % 2 else "No", "CLOSED ")
    for n in range(6)
  ),
  *(
    (6 + n, f"{n}.png", "What is it?", f"kind {n % 2}", "OPEN")
    for n in range(4)
  ),
  (10, "6.png", "Is it strangely white?", "no", "CLOSED"),
  (11, "6.png", "What is it?", "kind 7", "OPEN"),
  (12, "5.png", "Is it the x ray's or not?", "kind 0", "CLOSED"),
]


def image(seed: int) -> np.ndarray:
  """Return an image, uint8 [20, 24, 3]."""
  return np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)


def write_rad(folder: pathlib.Path, rows: Any = RAD) -> pathlib.Path:
  """Write trainset.json, testset.json and images/; return the folder.

  captions.jsonl is a table of its images.
  """
  fields = "qid", "image_name", "question", "answer", "answer_type"
  questions = [dict(zip(fields, row, strict=True)) for row in rows]
  (folder / "images").mkdir(parents=True)
  for name, part in (("train", questions[:10]), ("test", questions[10:])):
    (folder / f"{name}set.json").write_text(json.dumps(part))
  captions = []
  for number in range(7):
    name = f"images/{number}.png"
    Image.fromarray(image(number)).save(folder / name)
    captions.append(json.dumps({"image": name, "caption": "an x-ray"}) + "\n")
  (folder / "captions.jsonl").write_text("".join(captions))
  return folder


def write_slake(folder: pathlib.Path) -> pathlib.Path:
  """Write the three files and imgs/, a Chinese question in each."""
  (folder / "imgs/xmlab0").mkdir(parents=True)
  Image.fromarray(image(0)).save(folder / "imgs/xmlab0/source.jpg")
  common = {"img_name": "xmlab0/source.jpg", "img_id": 0}
  for index, file in enumerate(("train", "validate", "test")):
    rows = [
      {"qid": 10 * index, "question": "What is it?", "answer": "Lung"},
      {"qid": 10 * index + 1, "question": "这是什么?", "answer": "肺"},
    ]
    for row, language in zip(rows, ("en", "zh"), strict=True):
      row |= common | {"q_lang": language, "answer_type": "OPEN"}
    path = folder / f"{file}.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
  return folder
