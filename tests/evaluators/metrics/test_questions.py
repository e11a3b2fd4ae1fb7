"""Answers by type, choices and soft accuracy, with intervals and chance."""

import numpy as np
import pytest

from evaluators import summary
from evaluators.metrics import intervals, questions
from tests.evaluators import test_results_schema

TYPES = ["what", "who", "what", "how many"]


def test_soft_accuracy():
  humans = ["yes"] * 4 + ["no"] * 2 + ["maybe"] * 3 + ["so"]
  got = [
    questions.soft_accuracy(x, humans)
    for x in ("yes", "no", "maybe", "so", "other")
  ]
  assert got == pytest.approx([1, 2 / 3, 1, 1 / 3, 0])


def test_accuracy_by_type():
  made = questions.record([1, 0, 0, 1], TYPES, np.array([1, 0, 0, 0]))
  assert made["accuracy"] == {
    "overall": 0.5,
    "how many": 1.0,
    "what": 0.5,
    "who": 0.0,
  }
  assert made["num_questions"]["what"] == 2
  assert made["chance"] == {
    "overall": 0.25,
    "how many": 0.0,
    "what": 0.5,
    "who": 0.0,
  }
  assert made["intervals"]["overall"] == intervals.wilson(2, 4).tolist()


def test_choices_have_the_chance_of_their_number():
  made = questions.record([1, 0], ["action"] * 2, np.full(2, 1 / 5))
  assert made["chance"]["overall"] == pytest.approx(0.2)


def test_questions_of_a_video_go_together():
  value = np.repeat([1.0, 0.0, 1.0, 0.0], 10)
  apart = questions.record(value, ["a"] * 40, value)
  together = questions.record(
    value, ["a"] * 40, value, cluster_N=np.repeat(np.arange(4), 10)
  )
  width = lambda x: np.ptp(x["intervals"]["overall"])  # noqa: E731
  assert width(together) > 1.5 * width(apart)


def test_records_and_rows():
  value = np.array([1, 2 / 3, 0, 1 / 3])
  made = questions.record(value, TYPES, np.zeros(4), figure="soft_accuracy") | {
    "protocol": {}
  }
  results = {"vqa": made, "tgif": questions.record(value > 0, TYPES, value)}
  results["tgif"]["protocol"] = {}
  test_results_schema.validate(results)
  rows = summary.rows(results)
  assert [row.label for row in rows[:4]] == [
    "overall",
    "how many",
    "what",
    "who",
  ]
  assert rows[0].figures[0].name == "soft_accuracy"
  assert rows[0].figures[0].value == pytest.approx(0.5)
  assert "soft accuracy" in summary.table(results)


def test_messages():
  with pytest.raises(ValueError, match="at least one"):
    questions.record([], [], np.zeros(0))
  with pytest.raises(ValueError, match=r"got \[1, 2\]"):
    questions.record([1, 0], ["a", "b"], np.zeros(1))
