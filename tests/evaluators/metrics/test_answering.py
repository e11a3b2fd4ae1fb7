"""Figures of answers: by annotated type, wrong routes counted as wrong."""

import numpy as np
import pytest

from evaluators import summary
from evaluators.metrics import answering, intervals
from tests.evaluators import test_results_schema


def test_figures_are_of_the_annotated_type():
  right = np.array([True, False, True, False, False])
  kind = np.array([0, 0, 1, 1, 1])
  guessed = np.array([True, True, False, False, True])
  routed = np.array([True, False, True, True, True])
  record = answering.record(right, kind, guessed, routed)
  assert record["overall"] == pytest.approx(2 / 5)
  assert (record["closed"], record["open"]) == (1 / 2, 1 / 3)
  assert record["routing"] == 4 / 5
  assert record["chance"] == {
    "overall": 3 / 5,
    "closed": 1.0,
    "open": pytest.approx(1 / 3),
    "routing": 3 / 5,
  }
  assert record["intervals"]["open"] == intervals.wilson(1, 3).tolist()
  results = {"rad": record | {"num_outside": 1, "protocol": {}}}
  test_results_schema.validate(results)
  table = summary.table(results)
  assert "0.333 (0.333)" in table
  assert "routing" in table


def test_one_head_has_no_routing_and_a_type_may_be_absent():
  record = answering.record(*np.array([[1, 0], [1, 1], [0, 0]], bool))
  assert record["num_questions"] == {"overall": 2, "open": 2}
  assert not {"closed", "routing"} & record.keys()


def test_a_router_alone_is_compared_with_the_most_frequent_type():
  routed = np.array([True, True, True, False, True])
  record = answering.routing_record(routed, np.array([0, 1, 1, 1, 0]))
  assert (record["routing"], record["chance"]["routing"]) == (4 / 5, 3 / 5)
  assert record["intervals"]["routing"] == intervals.wilson(4, 5).tolist()
  results = {"rad_validation": record | {"protocol": {}}}
  test_results_schema.validate(results)
  assert "0.800 (0.600)" in summary.table(results)


def test_guess_is_the_most_frequent_answer_of_each_type():
  answers = ["yes", "no", "no", "left", "b", "a"]
  assert answering.guesses(answers, [0, 0, 0, 1, 1, 1]) == {0: "no", 1: "a"}
