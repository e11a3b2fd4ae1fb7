"""Outcomes of known labels, beside scikit-learn's and figures of sets."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from evaluators.metrics import classification
from inference.classifying import confusion_picture, outcomes

NAMES = ("cat", "dog", "owl", "ant")


def _counted(num=200, abstains=True):
  rng = np.random.default_rng(0)
  truth = rng.integers(0, 3, num)  # no ant
  predicted = np.where(rng.random(num) < 0.6, truth, rng.integers(0, 4, num))
  given = rng.random(num) < (0.8 if abstains else 1)
  counted = outcomes.Outcomes(NAMES, is_multi=False)
  for t, p, is_given in zip(truth, predicted, given, strict=True):
    counted.add([NAMES[t]], [NAMES[p]] if is_given else [])
  return counted, truth, predicted, given


def test_figures_are_those_of_other_code():
  counted, truth, predicted, _ = _counted(abstains=False)
  results = counted.results()
  assert results["accuracy"]["value"] == pytest.approx(
    (truth == predicted).mean()
  )
  table = classification.per_class(truth, predicted, 4)
  for a, row in enumerate(results["per_label"]):
    assert row["label"] == NAMES[a]
    if a < 3:
      assert row["recall"]["value"] == pytest.approx(table["recall"][a])
      assert row["f1"] == pytest.approx(table["f1"][a])
    assert row["precision"]["value"] == pytest.approx(table["precision"][a])
  assert results["per_label"][3]["recall"]["value"] is None
  answers = classification.judge([np.eye(4)[predicted]], truth)
  expected = classification.figures(answers)
  assert results["macro_f1"] == pytest.approx(expected["macro_f1"])
  assert results["mean_recall"] == pytest.approx(expected["mean_per_class"])
  matrix = np.zeros((4, 4), int)
  for label, other, count in results["confusion"]:
    matrix[NAMES.index(label), NAMES.index(other)] = count
  np.testing.assert_array_equal(
    matrix, metrics.confusion_matrix(truth, predicted, labels=range(4))
  )


def test_abstentions_are_not_right():
  counted, truth, predicted, given = _counted()
  counted.add(None, ["cat"])
  counted.add(["bee"], ["cat"])
  results = counted.results()
  right = (truth == predicted) & given
  assert results["num_abstained"] == (~given).sum()
  assert results["accuracy"]["value"] == pytest.approx(right.mean())
  assert results["accuracy_of_answers"]["value"] == pytest.approx(
    right.sum() / given.sum()
  )
  assert results["num_without_label"] == 1
  assert results["unknown_labels"] == {"bee": 1}
  assert results["num_pictures"] == len(truth)
  text = outcomes.table(results)
  assert "counted apart: bee" in text
  header = next(line for line in text.splitlines() if "(none)" in line)
  assert header.split() == [*NAMES, "(none)"]
  image = Image.open(io.BytesIO(confusion_picture.png(results)))
  assert min(image.size) > 200


def test_several_labels_of_a_picture():
  counted = outcomes.Outcomes(NAMES, is_multi=True)
  counted.add(["cat", "dog"], ["cat", "owl"])
  counted.add([], ["cat"])
  counted.add(["dog", "bee"], [])
  results = counted.results()
  by_name = {row["label"]: row for row in results["per_label"]}
  assert by_name["cat"]["precision"]["value"] == 0.5
  assert by_name["cat"]["recall"]["value"] == 1
  assert by_name["dog"]["recall"]["of"] == 2
  assert "ant" not in by_name
  assert results["unknown_labels"] == {"bee": 1}
  assert "confusion" not in results
  assert "accuracy" not in results
  assert "cat" in outcomes.table(results)


def test_no_picture_with_a_known_label():
  counted = outcomes.Outcomes(NAMES, is_multi=False)
  counted.add(None, ["cat"])
  assert "No picture has a true label" in outcomes.table(counted.results())


def test_a_picture_of_more_labels_than_it_has_room_for(monkeypatch):
  monkeypatch.setattr(confusion_picture, "MOST", 3)
  names = tuple(f"label ${n}$" for n in range(9))
  counted = outcomes.Outcomes(names, is_multi=False)
  for n in range(9):
    for times in range(9 - n):
      counted.add([names[n]], [names[(n + times % 2) % 9]])
  image = Image.open(io.BytesIO(confusion_picture.png(counted.results())))
  assert max(image.size) < 700
