"""DataComp's figures on 1,000 random cases, beside scikit-learn.

DataComp takes them from these functions: WILDS' macro F1 is `f1_score` over the
labels that occur (wilds/common/metrics/all_metrics.py), WinoGAViL's score
`jaccard_score` (eval_utils/wino_eval.py); a group's figure is an accuracy.
"""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from evaluators.metrics import classification, groups, multilabel

pytestmark = pytest.mark.slow
_NUM_CASES = 1000


def answers(rng):
  """Return labels and predictions, right in a random share of cases."""
  num_classes, n = int(rng.integers(2, 20)), int(rng.integers(1, 60))
  label, predicted = rng.integers(0, num_classes, (2, n))
  return label, np.where(rng.random(n) < rng.random(), label, predicted)


def test_macro_f1():
  rng = np.random.default_rng(0)
  for _ in range(_NUM_CASES):
    label, predicted = answers(rng)
    table = classification.per_class(label, predicted, 20)
    got = classification.macro_f1(
      table["n"], table["predicted"], table["right"]
    )
    want = sklearn_metrics.f1_score(
      label,
      predicted,
      average="macro",
      labels=np.unique(label),
      zero_division=0,
    )
    assert got == pytest.approx(want, rel=1e-12)


def test_jaccard():
  rng = np.random.default_rng(0)
  for _ in range(_NUM_CASES):
    size = int(rng.choice([5, 6, 10, 12]))
    right = rng.permutation(np.arange(size) < rng.integers(1, size))
    score = rng.normal(size=size) + rng.random() * right
    chosen = np.zeros(size, bool)
    chosen[np.argsort(score)[-right.sum() :]] = True
    want = sklearn_metrics.jaccard_score(right, chosen)
    assert multilabel.jaccard(score, right) == pytest.approx(want, rel=1e-12)


def test_worst_group():
  rng = np.random.default_rng(0)
  for _ in range(_NUM_CASES):
    label, predicted = answers(rng)
    group = rng.integers(0, 5, len(label))
    want = {
      g: sklearn_metrics.accuracy_score(
        label[group == g], predicted[group == g]
      )
      for g in np.unique(group)
    }
    got = groups.worst(groups.by_group(label == predicted, group))
    assert got["mean"] == pytest.approx(min(want.values()), rel=1e-12)
