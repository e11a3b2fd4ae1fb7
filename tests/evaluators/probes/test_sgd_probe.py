"""PLIP's probe beside scikit-learn's own classifier."""

import numpy as np
import pytest
from sklearn import datasets, linear_model, metrics

from evaluators.probes import examples as examples_lib
from evaluators.probes import sgd_probe


@pytest.fixture(scope="module")
def parts():
  """Return training and test examples of breast cancer, of 2 classes."""
  data = datasets.load_breast_cancer()
  x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
  uid = np.arange(len(x)).astype("<u8").repeat(2).view(np.uint8)
  every = examples_lib.Examples(
    x.astype(np.float32), data.target.astype(np.int32), uid.reshape(-1, 16)
  )
  is_test = np.random.default_rng(0).random(len(x)) < 0.3
  return every.take(~is_test), every.take(is_test)


def _fit(alpha, known, asked):
  model = linear_model.SGDClassifier(
    loss="log_loss",
    penalty="l2",
    alpha=alpha,
    max_iter=10_000,
    class_weight="balanced",
    random_state=1,
  )
  return model.fit(known.x_ND, known.label_N).predict(asked.x_ND)


def test_it_is_scikit_learns_classifier(parts):
  train, test = parts
  got = sgd_probe.probe(train, test, num_classes=2)
  is_held = examples_lib.hold_out(train, 0.2)
  fitted, held = train.take(~is_held), train.take(is_held)
  want = {
    alpha: metrics.f1_score(
      held.label_N, _fit(alpha, fitted, held), average="macro"
    )
    for alpha in (1e-4, 1e-3, 1e-2, 1e-1)
  }
  assert got.scores == pytest.approx(want)
  assert want[got.alpha] == max(want.values())
  assert got.not_converged == ()
  np.testing.assert_array_equal(got.predicted_N, _fit(got.alpha, train, test))
  assert metrics.f1_score(test.label_N, got.predicted_N, average="macro") > 0.9


def test_a_fit_that_does_not_converge_is_named(parts, monkeypatch):
  monkeypatch.setattr(sgd_probe, "MAX_EPOCHS", 1)
  got = sgd_probe.probe(*parts, num_classes=2)
  assert set(got.not_converged) == set(sgd_probe.ALPHAS)
