"""Answers of a run's decoder, judged by --task=evaluate's code and by hand."""

import dataclasses
import json

import numpy as np
import pytest

import inference
from evaluators.generating import answered
from evaluators.generating import captioner as captioner_lib
from evaluators.metrics.generation import pope
from inference.evaluation import evaluate
from input_pipeline.regions import box_tokens
from tests.evaluators import test_results_schema
from tests.inference.evaluation import answering_runs
from tests.inference.generating import decoder_runs
from training import config as config_lib

_OFFSET = 2  # ids of "bytes" before those of bytes
_END = 1
# Answers that are written: of questions of four ids, and of five.
_SAID = {"red?": "yes", "wet?": "yes", "blue?": "es", "Odd ?": "es"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Return a run whose decoder writes "yes" at place 5, its end at place 8."""
  folder = tmp_path_factory.mktemp("answering")
  config = config_lib.checked(answering_runs.make_values(folder).to_dict())
  script = [5] * 5 + [byte + _OFFSET for byte in b"yes"] + [_END]
  script += [5] * (config.data.regions.num_tokens - len(script))
  decoder_runs.write(folder / "run", config, script)
  return folder / "run", config


@pytest.fixture(scope="module")
def model(run):
  return inference.Model.load(run[0], batch_size=8)


@pytest.mark.slow
def test_figures_are_those_of_the_answers(run, capsys):
  folder, _ = run
  assert evaluate.run(str(folder)) == 0
  results = json.loads((folder / "results.json").read_text())
  test_results_schema.validate(results)
  vqa = results["vqa"]
  # All ten say yes; one of ten; two of ten; none.
  values = [1, 1 / 3, 2 / 3, 0]
  assert vqa["figure"] == "soft_accuracy"
  assert vqa["soft_accuracy"] == {
    "overall": pytest.approx(np.mean(values)),
    "yes/no": pytest.approx(2 / 3),
    "other": pytest.approx(1 / 3),
  }
  # Answers to the next question of a type are the same here.
  assert vqa["chance"]["yes/no"] == pytest.approx(2 / 3)
  assert vqa["num_questions"]["overall"] == 4
  assert vqa["protocol"]["generation"] == {
    "method": "greedy",
    "num_tokens": 16,
    "num_questions_cut": 0,
    "num_answers_cut": 0,
    "num_different_answers": 2,
  }
  assert results["exact"]["accuracy"] == {"overall": 0.25}
  # "es" is neither yes nor no, and yes to POPE's code; one label is yes.
  polled = results["pope"]
  want = pope.record(
    [*_SAID.values()],
    [pope.Question(str(x), "", x == 0, "") for x in (0, 1, 2, 2)],
  )
  for name in (*pope.FIGURES, "num_unclear", "num_images"):
    assert polled[name] == want[name]
  assert (polled["num_unclear"], polled["num_images"]) == (2, 3)
  printed = capsys.readouterr().out
  for name in ("vqa", "exact", "pope"):
    assert name in printed


def test_an_answer_in_python(run, model):
  """The question is forced, and the answer begins behind it."""
  pixels = np.zeros((20, 24, 3), np.uint8)
  assert {model.answer(pixels, x): x for x in _SAID} == {
    "yes": "wet?",
    "es": "Odd ?",
  }
  with pytest.raises(ValueError, match="question must be a str"):
    model.answer(pixels, " ")
  # Half of 16 places, less that of the task.
  request = model.captioner.asking(pixels, "a long question")
  task = model.captioner.vocabulary.task_id(box_tokens.ANSWER)
  ids = [byte + _OFFSET for byte in b"a long "]
  assert request.given == [task, *ids, task]
  assert request.most == 8


def test_a_decoder_without_answers(model):
  writer = model.captioner
  decoder = dataclasses.replace(writer.decoder, tasks=("caption",))
  other = captioner_lib.Captioner(writer.model, decoder, 8)
  with pytest.raises(ValueError, match="data.regions.answers=True.* caption"):
    other.asking(np.zeros((16, 16, 3), np.uint8), "red?")


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    ("pope", {"label": "maybe"}, "must be yes or no; got 'maybe'"),
    ("exact", {"label": ""}, "has no answer: 'red"),
    ("vqa", {"question": " "}, "neither a question nor options"),
  ],
)
def test_questions_that_cannot_be_used(
  run, model, tmp_path, name, changes, message
):
  _, config = run
  path = answering_runs.write(tmp_path / "table", **changes)
  section = config.evaluate.generated_sets[name]
  source = dataclasses.replace(section.source, path=str(path))
  section = dataclasses.replace(section, source=source)
  opened = section.open(name, config.data)
  with pytest.raises(ValueError, match=message):
    answered.evaluate(opened, model.captioner)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"loss.weight": 1.0}, "loss.weight must be 0 with data.regions.answers"),
    ({"data.regions.answers": False}, "needs data.regions.answers=True"),
    ({"data.regions.answers": False}, "needs a decoder that learned answers"),
    ({"data.regions.tasks": "all"}, "must be 'drawn' with data.regions.answ"),
    (
      {"data.sources.main.question_fields": (("question", "question"),)},
      "question_fields must name question and answer or answers",
    ),
    ({"evaluate.sets.vqa.judge": "humans"}, r"sets\.vqa\.judge"),
    (
      {"evaluate.sets.pope.source.question_fields": answering_runs.FIELDS},
      "must name question and answer with evaluate.sets.pope.judge='polling'",
    ),
  ],
)
def test_sections_that_do_not_fit(tmp_path, changes, message):
  values = answering_runs.make_values(tmp_path)
  values.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    config_lib.checked(values.to_dict())
