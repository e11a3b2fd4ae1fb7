"""Runs of --task=vqa: trained, resumed to the bit, and their best epoch."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from evaluators.metrics import answering
from runtime.storage import jsonl
from tests.evaluators import test_results_schema
from tests.input_pipeline.questions import fixture
from tests.training.vqa import tiny_questions
from training.run import workdir
from training.vqa import evaluation, run


def _train_lines(folder: pathlib.Path) -> list[dict]:
  lines = jsonl.read(folder / workdir.METRICS)
  return [line for line in lines if "train/loss" in line]


@pytest.mark.slow
def test_a_run_is_whole_and_resumes_to_the_bit(tmp_path: pathlib.Path):
  folder = fixture.write_rad(tmp_path / "rad")
  config = tiny_questions.make_config(folder)
  whole, halves = tmp_path / "whole", tmp_path / "halves"
  run.check(config, whole)
  assert run.run(config, whole) == 0
  first = dataclasses.replace(
    config, vqa=dataclasses.replace(config.vqa, num_epochs=1)
  )
  assert run.run(first, halves) == 0
  assert run.run(config, halves) == 0
  assert _train_lines(whole) == _train_lines(halves)
  assert len(_train_lines(whole)) == 2
  results = json.loads((whole / workdir.RESULTS).read_text())
  test_results_schema.validate(results)
  assert [*results] == ["vqa_rad", "vqa_rad_validation"]
  record = results["vqa_rad"]
  assert record["num_questions"]["overall"] == 3
  assert record["num_outside"] == 2
  lines = jsonl.read(whole / evaluation.ANSWERS)
  assert np.mean([line["right"] for line in lines]) == record["overall"]
  assert {line["type"] for line in lines} == set(answering.TYPES)
  words = json.loads((whole / run.VOCABULARY).read_text())["words"]
  assert "strangely" not in words
  with pytest.raises(workdir.WorkdirError, match="answers questions"):
    workdir.check_encoder(whole, config)


def test_best_epoch_is_kept_until_a_better_one(tmp_path: pathlib.Path):
  evaluator = object.__new__(evaluation.Evaluator)
  object.__setattr__(evaluator, "folder", tmp_path)
  assert evaluator._best() is None
  tree = {"a": {"b": jax.numpy.arange(3.0)}}
  evaluator._keep(tree, 5, 0.25)
  step, share, best = evaluator._read_best(tree)
  assert (step, share) == (5, 0.25)
  np.testing.assert_array_equal(best["a"]["b"], [0, 1, 2])
