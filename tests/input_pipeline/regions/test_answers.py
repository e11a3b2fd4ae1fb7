"""Questions whose answers a decoder learns, beside regions of other sources."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from configs.parts import domain
from evaluators.sets import kinds
from input_pipeline import faults, loader, pipeline
from input_pipeline.asking import asked
from input_pipeline.regions import region_rows, region_targets
from input_pipeline.tokenizers import bytes as bytes_lib
from tests.inference.evaluation import answering_runs
from tests.input_pipeline.images import encoded
from tests.input_pipeline.regions import fixture
from tests.input_pipeline.sources.layouts import opened
from training import config as config_lib

_END, _OFFSET = 1, 2


def _values(folder):
  """Return a config over a table of regions and one of questions."""
  values = answering_runs.make_values(folder)
  regions = fixture.values(
    fixture.write(folder / "regions"), num_tokens=16
  ).data.sources.main
  asked_of = values.data.sources.main
  for source in (regions, asked_of):
    source.weight = 1.0
  values.data.sources = {"asked": asked_of, "boxes": regions}
  values.data.regions.probabilities = (0.5, 0.5, 0.0)
  values.data.num_workers = values.data.num_threads = 0
  return values


def test_batches_have_questions_and_regions(tmp_path):
  config = config_lib.checked(_values(tmp_path).to_dict()).data
  dataset = pipeline.make_train_dataset(config, batch_size=8, seed=1)
  rows = []
  for batch in itertools.islice(iter(dataset), 4):
    for name, (shape, dtype) in config.regions.shapes().items():
      assert batch[name].shape == (8, *shape)
      assert batch[name].dtype == dtype
    names = ("tasks", "tokens", "targets", "weights")
    rows += zip(*(batch[f"decoder_{x}"] for x in names), strict=True)
  vocabulary = config.regions.vocabulary(config.vocab_size)
  task = vocabulary.task_id("answer")
  assert task == vocabulary.size - 1
  of_answers = [row for row in rows if row[0] == 3]
  # The sources are as heavy.
  assert len(of_answers) == len(rows) / 2
  assert {int(row[0]) for row in rows} == {0, 1, 3}
  # The tokenizer reads small letters.
  texts = {
    (x.lower(), max(some, key=some.count).lower())
    for x, some, _ in answering_runs.ROWS
  }
  said = set()
  for _, tokens, targets, weights in of_answers:
    assert tokens[0] == task
    (place,) = np.flatnonzero(targets == task)
    assert not weights[: place + 1].any()
    predicted = targets[weights > 0]
    assert predicted[-1] == _END
    ids = (targets[:place], predicted[:-1])
    said.add(tuple(bytes((x - _OFFSET).tolist()).decode("utf-8") for x in ids))
  assert said <= texts
  assert len(said) >= 3


def test_a_source_without_an_answer(tmp_path):
  values = answering_runs.make_values(tmp_path)
  values.data.sources.main.path = str(
    answering_runs.write(tmp_path / "none", answers=[])
  )
  config = config_lib.checked(values.to_dict()).data
  with pytest.raises(ValueError, match="none of 4 examples of data.sources.ma"):
    loader.make_loader(config, folder=None, batch_size=4, seed=1)


def test_texts_that_are_too_long():
  """A question keeps half of the places; a cut answer has no end."""
  regions = region_targets.RegionsConfig(
    num_tokens=12, num_bins=4, answers=True
  )
  tokenizer = bytes_lib.make_tokenizer(
    lambda: [], None, languages=(), vocab_size=264, num_tokens=12, path=""
  )
  rows = region_rows.make(regions, tokenizer, 264)
  made = rows.answered(asked.Question("a long question", "no"))
  assert made["decoder_weights"].tolist() == [0] * 6 + [1] * 3 + [0] * 3
  assert made[region_rows.COUNTS].sum() == 2
  made = rows.answered(asked.Question("why?", "for no reason"))
  assert made["decoder_weights"].tolist() == [0] * 5 + [1] * 7
  assert _END not in made["decoder_targets"]
  with pytest.raises(faults.ExampleError, match="has no answer: 'why"):
    rows.answered(asked.Question("why?", " "))


def test_a_set_of_vqa_v2(tmp_path):
  folder = tmp_path / "vqa"
  question = {"image_id": 7, "question": "How many?", "question_id": 1}
  given = {
    "question_id": 1,
    "multiple_choice_answer": "2",
    "answer_type": "number",
    "answers": [{"answer": "2"}] * 10,
  }
  opened.write(
    folder,
    {
      "v2_OpenEnded_mscoco_val2014_questions.json": json.dumps(
        {"questions": [question]}
      ),
      "v2_mscoco_val2014_annotations.json": json.dumps(
        {"annotations": [given]}
      ),
    },
  )
  image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
  name = "COCO_val2014_000000000007.jpg"
  (folder / name).write_bytes(encoded.by_pillow(image, "JPEG"))
  names = ("question", "answer_type", "answers")
  fields = {"question_fields": tuple((x, x) for x in names)}
  source = domain.source("vqa.v2@val", path=str(folder), **fields)
  values = answering_runs.make_values(tmp_path)
  values.evaluate.sets = {"vqa": kinds.answering(source)}
  config = config_lib.checked(values.to_dict())
  section = config.evaluate.generated_sets["vqa"]
  records = section.open("vqa", config.data).records
  assert records.question(0) == asked.Question(
    "How many?", "", "number", answers=("2",) * 10
  )
