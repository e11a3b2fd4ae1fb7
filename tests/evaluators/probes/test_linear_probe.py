"""Fits are scikit-learn's in float64, fitted to a gradient near zero."""

import itertools
import math

import numpy as np
import pytest
from sklearn import datasets, linear_model

from evaluators.probes import examples as examples_lib
from evaluators.probes import linear_probe, logistic


def exact(x, label, strength):
  """Fit scikit-learn's model so that its error is below those compared."""
  tol = 1e-7 * min(1, 1 / strength)
  model = linear_model.LogisticRegression(
    C=strength, tol=tol, max_iter=20_000, solver="newton-cg"
  ).fit(x.astype(np.float64), label)
  assert model.n_iter_[0] < 20_000
  return model


def uids(num):
  return np.random.default_rng(9).integers(0, 256, (num, 16), np.uint8)


def blobs(num, dim, num_classes, seed=0):
  rng = np.random.default_rng(seed)
  mean = np.random.default_rng(1).normal(size=(num_classes, dim))
  label = np.arange(num) % num_classes
  x = mean[label] + 1.5 * rng.normal(size=(num, dim)) + 3
  return x.astype(np.float32), label


def gradient(fits, s, x, label, strength):
  """Return the gradient by weights [A, D] and intercepts [A], in float64."""
  w, b = fits.weight_SAD[s].astype(np.float64), fits.intercept_SA[s]
  logits = x.astype(np.float64) @ w.T + b
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  p /= p.sum(axis=1, keepdims=True)
  p[np.arange(len(x)), label] -= 1
  penalty = w / (strength * len(x))
  return p.T @ x / len(x) + penalty, p.mean(axis=0), penalty


def test_weights_are_scikit_learns():
  x, label = blobs(200, 8, 4)
  strengths = (1e-4, 1.0, 1e4)
  fits = logistic.fit(
    x, label, num_classes=4, strengths=strengths, tol=1e-6, rtol=1e-3
  )
  assert fits.has_converged_S.all()
  for s, strength in enumerate(strengths):
    model = exact(x, label, strength)
    for ours, theirs in (
      (fits.weight_SAD[s], model.coef_),
      (fits.intercept_SA[s], model.intercept_),
    ):
      np.testing.assert_allclose(
        ours, theirs, atol=1e-2 * np.abs(model.coef_).max()
      )
    np.testing.assert_array_equal(
      logistic.predict(fits, x)[s], model.predict(x.astype(np.float64))
    )


@pytest.mark.slow
def test_accuracy_is_scikit_learns_at_each_strength():
  """Of digits, which can be separated: the minimum is far at high C."""
  x, label = datasets.load_digits(return_X_y=True)
  x = (x / 16).astype(np.float32)
  strengths = tuple(np.logspace(-6, 6, 25).tolist())
  fits = logistic.fit(
    x[:1000], label[:1000], num_classes=10, strengths=strengths
  )
  assert fits.has_converged_S.all()
  top_1_S = (logistic.predict(fits, x[1000:]) == label[1000:]).mean(axis=1)
  assert max(top_1_S) - min(top_1_S) > 0.5
  for top_1, strength in list(zip(top_1_S, strengths, strict=True))[::2]:
    model = exact(x[:1000], label[:1000], strength)
    theirs = model.score(x[1000:].astype(np.float64), label[1000:])
    # 1e-3 and one example of 797.
    assert abs(top_1 - theirs) <= 1e-3 + 1 / 797, strength


def test_two_classes_have_the_penalty_of_one_difference():
  x, label = blobs(120, 5, 2)
  fits = logistic.fit(x, label, num_classes=2, strengths=[0.01])
  model = exact(x, label, 0.01)
  np.testing.assert_allclose(
    fits.weight_SAD[0, 1] - fits.weight_SAD[0, 0], model.coef_[0], rtol=2e-2
  )
  np.testing.assert_allclose(
    np.diff(fits.intercept_SA[0]), model.intercept_, rtol=2e-2
  )


def test_more_features_than_examples():
  x, label = blobs(30, 50, 3)
  fits = logistic.fit(x, label, num_classes=3, strengths=[0.1])
  model = exact(x, label, 0.1)
  scale = np.abs(model.coef_).max()
  np.testing.assert_allclose(fits.weight_SAD[0], model.coef_, atol=1e-2 * scale)


@pytest.mark.parametrize("rtol", [math.inf, 1e-2])
def test_conditions_of_convergence_hold(rtol):
  x, label = blobs(200, 8, 4)
  strengths = (1e-3, 0.1, 10.0)
  fits = logistic.fit(
    x, label, num_classes=4, strengths=strengths, tol=1e-3, rtol=rtol
  )
  assert fits.has_converged_S.all()
  for s, strength in enumerate(strengths):
    by_w, by_b, penalty = gradient(fits, s, x, label, strength)
    largest = max(np.abs(by_w).max(), np.abs(by_b).max())
    bound = min(1e-3, rtol * np.abs(penalty).max())
    # The absolute term is rounding of float32 weights, far from 0.
    assert largest <= 1.05 * bound + 2e-7
    assert abs(largest - fits.gradient_S[s]) <= 0.05 * largest + 2e-7


def test_blocks_and_products_do_not_change_fits(monkeypatch):
  x, label = blobs(200, 8, 4)
  kwargs = {"num_classes": 4, "strengths": (1e-2, 1e-1, 1.0, 3.0), "rtol": 1e-4}
  whole = logistic.fit(x, label, **kwargs)
  monkeypatch.setattr(logistic, "_BLOCK_SIZE", 4 * 70)
  monkeypatch.setattr(logistic, "_COLUMNS", 4)
  monkeypatch.setattr(logistic, "_ROTATED", 64)
  blocked = logistic.fit(x, label, **kwargs)
  scale = np.abs(whole.weight_SAD).max()
  np.testing.assert_allclose(
    whole.weight_SAD, blocked.weight_SAD, atol=2e-4 * scale
  )


def test_the_order_of_strengths_does_not_matter():
  x, label = blobs(200, 8, 4)
  up = logistic.fit(x, label, num_classes=4, strengths=(0.1, 1.0, 2.0))
  down = logistic.fit(x, label, num_classes=4, strengths=(2.0, 1.0, 0.1))
  np.testing.assert_array_equal(up.weight_SAD, down.weight_SAD[::-1])
  again = logistic.fit(x, label, num_classes=4, strengths=(0.1, 1.0, 2.0))
  np.testing.assert_array_equal(up.weight_SAD, again.weight_SAD)


def test_classes_without_examples_are_never_predicted():
  x, label = blobs(200, 8, 4)
  label = np.array([0, 2, 5, 6])[label]
  fits = logistic.fit(x, label, num_classes=8, strengths=[1.0])
  model = exact(x, label, 1.0)
  np.testing.assert_array_equal(
    logistic.predict(fits, x)[0], model.predict(x.astype(np.float64))
  )
  assert np.isneginf(fits.intercept_SA[0, [1, 3, 4, 7]]).all()
  assert not fits.weight_SAD[0, [1, 3, 4, 7]].any()


def test_steps_may_run_out():
  x, label = blobs(200, 8, 4)
  fits = logistic.fit(
    x, label, num_classes=4, strengths=[1e4], rtol=1e-4, max_steps=3
  )
  assert not fits.has_converged_S.any()
  assert fits.num_evaluations_S[0] < 12


def test_one_class_is_refused():
  with pytest.raises(ValueError, match="at least 2 classes; got 4"):
    logistic.fit(np.ones((3, 2)), np.full(3, 4), num_classes=5)


@pytest.mark.parametrize(
  ("strengths", "message"), [((), "at least one"), ((1.0, 0.0), "above 0")]
)
def test_bad_strengths_are_refused(strengths, message):
  x, label = blobs(200, 8, 4)
  with pytest.raises(ValueError, match=f"strengths must .*{message}"):
    logistic.fit(x, label, num_classes=4, strengths=strengths)


def test_features_that_say_nothing_leave_the_shares_of_classes():
  label = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
  fits = logistic.fit(
    np.ones((10, 3), np.float32), label, num_classes=3, strengths=[1.0]
  )
  assert fits.has_converged_S.all()
  share = np.exp(fits.intercept_SA[0]) / np.exp(fits.intercept_SA[0]).sum()
  np.testing.assert_allclose(share, [0.3, 0.2, 0.5], atol=1e-3)
  assert not fits.weight_SAD.any()


@pytest.mark.parametrize(
  "strengths", [logistic.STRENGTHS, linear_probe.GRID[::16], (1.0,), ()]
)
def test_levels_hold_each_strength_once(strengths):
  levels = list(logistic._levels(sorted(strengths)))
  assert sorted(itertools.chain(*levels)) == sorted(strengths)
  # A decade apart, and the last one: 13 of the paper's.
  if strengths == logistic.STRENGTHS:
    assert [len(level) for level in levels[:13]] == [1] * 13
    assert len(levels) <= 13 + 4


@pytest.fixture(name="split", scope="module")
def make_split():
  x, label = blobs(240, 12, 3, seed=4)
  train = examples_lib.Examples(x, label, uids(240))
  x, label = blobs(150, 12, 3, seed=5)
  return train, examples_lib.Examples(x, label, uids(150))


@pytest.mark.slow
def test_probe_searches_refits_and_tests(split):
  train, test = split
  result = linear_probe.probe(train, test, num_classes=3)
  # Seven starts, then at most two at each of four halvings, and the refit.
  assert 12 <= result.num_fits <= 16
  assert set(linear_probe.GRID[::16]) <= set(result.scores)
  assert not result.not_converged
  best = max(result.scores.values())
  assert result.strength == min(
    c for c, score in result.scores.items() if score == best
  )
  # The search ends with both neighbours of the best on the grid of 8 a decade.
  index = linear_probe.GRID.index(result.strength)
  assert {linear_probe.GRID[index - 1], linear_probe.GRID[index + 1]} & set(
    result.scores
  )
  is_held = examples_lib.hold_out(train, 0.2)
  for strength, score in list(result.scores.items())[::7]:
    model = exact(train.x_ND[~is_held], train.label_N[~is_held], strength)
    theirs = model.score(
      train.x_ND[is_held].astype(np.float64), train.label_N[is_held]
    )
    assert abs(score - theirs) <= 1.01 / is_held.sum()
  model = exact(train.x_ND, train.label_N, result.strength)
  np.testing.assert_array_equal(
    result.predicted_N, model.predict(test.x_ND.astype(np.float64))
  )
  assert result.top_1 == np.mean(result.predicted_N == test.label_N)


def test_probe_does_not_depend_on_the_order_of_examples(split):
  train, test = split
  order = np.random.default_rng(0).permutation(len(train.x_ND))
  first = linear_probe.probe(train, test, num_classes=3)
  second = linear_probe.probe(train.take(order), test, num_classes=3)
  assert first.scores == second.scores
  assert first.strength == second.strength


def test_probe_chooses_on_the_validation_set(split):
  train, test = split
  asked = []

  def score_fn(predicted, label):
    asked.append(label)
    return -abs(len(asked) - 3)  # the third strength is the best

  result = linear_probe.probe(
    train, test, num_classes=3, validation=test, score_fn=score_fn
  )
  assert all(label is test.label_N for label in asked)
  assert result.strength == linear_probe.GRID[32]
  assert result.validation == "validation"


def test_bad_examples_are_all_named(split):
  train, test = split
  wrong = examples_lib.Examples(
    np.where(np.arange(12) == 3, np.nan, train.x_ND), train.label_N, train.uid_N
  )
  with pytest.raises(ValueError, match="(?s)held_out.*train.x_ND.*test.label"):
    linear_probe.probe(wrong, test, num_classes=2, held_out=1.5)
