"""VQA v2 in the files of its release."""

import json

import numpy as np
import pytest
from PIL import Image

from configs.parts import domain
from input_pipeline import faults
from input_pipeline.asking import asked
from input_pipeline.sources import source_config
from tests.input_pipeline.images import encoded
from tests.input_pipeline.sources.layouts import opened


def test_questions_with_the_answers_of_ten_people(tmp_path):
  folder = tmp_path / "vqa"
  questions = [
    {"image_id": 458752, "question": "What is this?", "question_id": 458752000},
    {"image_id": 262146, "question": "How many?", "question_id": 262146000},
    {"image_id": 458752, "question": "Is it?", "question_id": 458752001},
  ]
  given = ["net"] * 8 + ["netting", "mesh"]
  annotations = [
    {
      "question_id": 458752000,
      "image_id": 458752,
      "multiple_choice_answer": "net",
      "answer_type": "other",
      "answers": [
        {"answer": answer, "answer_confidence": "maybe", "answer_id": i}
        for i, answer in enumerate(given, 1)
      ],
    },
    {
      "question_id": 262146000,
      "image_id": 262146,
      "multiple_choice_answer": "2",
      "answer_type": "number",
      "answers": [{"answer": "2"}],
    },
  ]
  opened.write(
    folder,
    {
      "v2_OpenEnded_mscoco_train2014_questions.json": json.dumps(
        {"questions": questions}
      ),
      "v2_mscoco_train2014_annotations.json": json.dumps(
        {"annotations": annotations}
      ),
    },
  )
  image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
  (folder / "train2014").mkdir()
  path = folder / "train2014" / "COCO_train2014_000000458752.jpg"
  path.write_bytes(encoded.by_pillow(image, "JPEG"))
  names = ("question", "answer", "answer_type", "answers")
  fields = {"question_fields": tuple((x, x) for x in names)}
  source = source_config.SourceConfig(
    **domain.source("vqa.v2@train", path=str(folder), **fields)
  )
  context = source_config.SourceContext("main", tmp_path / "cache", 32)
  records = asked.open_split(source, "train", context)
  record = records[0]
  assert asked.question_of(record.fields) == asked.Question(
    "What is this?", "net", "other", answers=tuple(given)
  )
  assert record.texts == {"en": ("What is this?",)}
  for row, kind in ((1, "file_missing"), (2, "record_broken")):
    with pytest.raises(faults.ExampleError) as caught:
      records[row]
    assert caught.value.kind == kind
