"""Accuracy on seen and unseen classes, and their harmonic mean."""

import numpy as np
import pytest

from evaluators.metrics import classification, intervals, seen_unseen

_IS_UNSEEN = np.array([False, False, True])


def _answers(label, predicted):
  scores = np.eye(3)[predicted]
  return classification.judge([scores], np.array(label))


def test_by_hand():
  answers = _answers([0, 0, 0, 1, 2, 2, 2], [0, 0, 1, 1, 2, 0, 0])
  got = seen_unseen.figures(answers, _IS_UNSEEN)
  assert got["seen"] == 0.75
  assert got["unseen"] == pytest.approx(1 / 3)
  assert got["harmonic_mean"] == pytest.approx(2 * 0.25 / (0.75 + 1 / 3))
  assert (got["num_seen_classes"], got["num_unseen_classes"]) == (2, 1)
  assert got["chance"] == dict.fromkeys(got["intervals"], 1 / 3)
  assert got["intervals"]["seen"] == intervals.wilson(3, 4).tolist()
  for name, (low, high) in got["intervals"].items():
    assert 0 <= low < got[name] < high <= 1


def test_a_model_without_unseen_classes_has_a_mean_of_0():
  # Among the unseen classes alone, its answers would be right.
  got = seen_unseen.figures(_answers([0, 1, 2], [0, 1, 1]), _IS_UNSEEN)
  assert (got["seen"], got["unseen"], got["harmonic_mean"]) == (1, 0, 0)
  low, high = got["intervals"]["harmonic_mean"]
  assert low == 0 < high < 1
  assert seen_unseen.harmonic_mean(0.0, 0.0) == 0


def test_a_side_without_images_is_refused():
  with pytest.raises(ValueError, match="no example has one of the unseen"):
    seen_unseen.figures(_answers([0, 1], [0, 1]), _IS_UNSEEN)


def test_the_interval_of_the_mean_holds_the_truth():
  """95 % of simulated sets of 60 and 40 images, give or take 3 errors."""
  rng, true = np.random.default_rng(0), (0.8, 0.3)
  num_sets, is_in = 400, 0
  for _ in range(num_sets):
    right = np.concatenate([rng.random(60) < true[0], rng.random(40) < true[1]])
    answers = classification.Answers(
      np.where(right, 1.0, 2.0),
      np.zeros(100, int),
      np.repeat([0, 2], (60, 40)),
      3,
    )
    got = seen_unseen.figures(answers, _IS_UNSEEN)
    low, high = got["intervals"]["harmonic_mean"]
    is_in += low <= seen_unseen.harmonic_mean(*true) <= high
  assert abs(is_in / num_sets - 0.95) < 3 * np.sqrt(0.95 * 0.05 / num_sets)
