"""Fits of calibration, beside scikit-learn's and brute force."""

import math
import warnings

import numpy as np
import pytest
from sklearn import isotonic as sklearn_isotonic
from sklearn import linear_model, metrics

from inference.classifying import fitting, scores


def _drawn(num, slope=2.0, offset=-1.0, seed=0):
  rng = np.random.default_rng(seed)
  x_N = rng.normal(size=num)
  right_N = rng.random(num) < scores.logistic(slope * x_N + offset)
  return x_N, right_N


def test_platt_is_a_logistic_regression_on_its_targets():
  x_N, right_N = _drawn(300)
  curve = fitting.platt(x_N, right_N)
  num = right_N.sum()
  high, low = (num + 1) / (num + 2), 1 / (len(x_N) - num + 2)
  target_N = np.where(right_N, high, low)
  # A share of a label is a pair of examples with weights.
  model = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
  model.fit(
    np.tile(x_N, 2)[:, None],
    np.repeat([1, 0], len(x_N)),
    sample_weight=np.concatenate([target_N, 1 - target_N]),
  )
  assert curve.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
  assert curve.offset == pytest.approx(model.intercept_[0], rel=1e-4)
  x_N, right_N = _drawn(200_000)
  curve = fitting.platt(x_N, right_N)
  assert (curve.slope, curve.offset) == pytest.approx((2, -1), abs=0.05)


def test_platt_of_separated_and_of_senseless_evidence():
  x_N = np.arange(10.0)
  curve = fitting.platt(x_N, x_N > 5)
  assert 0 < curve.slope < 20
  p_N = curve(x_N)
  assert ((p_N > 0.5) == (x_N > 5)).all()
  falling = fitting.platt(x_N, x_N < 4)
  assert falling.slope == 0
  same = fitting.platt(np.ones(10), x_N < 4)
  assert same.slope == 0
  assert same(np.ones(1))[0] == pytest.approx(0.4, abs=0.02)


def test_isotonic_is_scikit_learns():
  x_N, right_N = _drawn(200)
  x_N = x_N.round(1)  # ties
  curve = fitting.isotonic(x_N, right_N)
  model = sklearn_isotonic.IsotonicRegression(out_of_bounds="clip")
  model.fit(x_N, right_N)
  asked = np.linspace(-5, 5, 400)
  np.testing.assert_allclose(curve(asked), model.predict(asked), atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_those_of_brute_force(seed):
  rng = np.random.default_rng(seed)
  p_N = rng.integers(0, 12, 60) / 12
  right_N = rng.random(60) < p_N

  def judged(cut):
    given_N = p_N >= cut
    hits = (given_N & right_N).sum()
    return hits / given_N.sum(), hits / right_N.sum(), given_N.sum()

  cuts = np.unique(p_N)
  f1 = [2 * p * r / (p + r) if p + r else 0 for p, r, _ in map(judged, cuts)]
  precision, recall, _ = judged(fitting.threshold(p_N, right_N, ("f1", 0)))
  assert 2 * precision * recall / (precision + recall) == pytest.approx(max(f1))
  cut = fitting.threshold(p_N, right_N, ("recall", 0.8))
  fewest = min(num for _, r, num in map(judged, cuts) if r >= 0.8)
  assert judged(cut)[2] == fewest
  cut = fitting.threshold(p_N, right_N, ("precision", 0.7))
  most = max(num for p, _, num in map(judged, cuts) if p >= 0.7)
  assert judged(cut)[2] == most
  # Between the probabilities that occur, so that rounding decides nothing.
  assert cut not in p_N


def test_a_threshold_that_is_never_reached():
  p_N, right_N = np.array([0.9, 0.5, 0.1]), np.array([False, True, False])
  assert fitting.threshold(p_N, right_N, ("precision", 0.9)) == math.inf
  flat_N = np.full(3, 0.3)
  assert fitting.threshold(flat_N, right_N, ("f1", 0)) == math.inf
  assert fitting.threshold(flat_N, right_N, ("recall", 0.9)) == 0.3


def test_folds_depend_on_names_alone():
  x_N, right_N = _drawn(90)
  names = [f"{n}.png" for n in range(90)]
  fold_N = fitting.folds(names, right_N)
  for part in (right_N, ~right_N):
    counts = np.bincount(fold_N[part])
    assert len(counts) == 5
    assert counts.max() - counts.min() <= 1
  order = np.random.default_rng(0).permutation(90)
  moved_N = fitting.folds([names[n] for n in order], right_N[order])
  np.testing.assert_array_equal(moved_N, fold_N[order])
  assert fitting.folds(names[:5], np.array([1, 1, 0, 0, 0], bool)).max() == 1
  del x_N


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_figures_of_a_fit(method):
  x_N, right_N = _drawn(240)
  names = [str(n) for n in range(240)]
  made = fitting.fit(
    *(3 * x_N + 4, right_N, names),  # far from calibrated
    method=method,
    aim=("f1", math.nan),
    is_probable=True,
  )
  figures = made["figures"]
  assert figures["num_right"] == right_N.sum()
  assert figures["average_precision"]["value"] == pytest.approx(
    metrics.average_precision_score(right_N, x_N)
  )
  for name in ("precision", "recall", "f1", "average_precision"):
    low, high = figures[name]["interval"]
    assert low < figures[name]["value"] < high
  before, after = figures["before"], figures["after"]
  assert before["brier"]["value"] == pytest.approx(
    metrics.brier_score_loss(right_N, scores.logistic(3 * x_N + 4))
  )
  assert after["brier"]["value"] < before["brier"]["value"] - 0.1
  assert after["ece"] < before["ece"] / 2


def test_a_rare_label_has_intervals_without_a_warning():
  x_N, right_N = _drawn(60)
  right_N = np.arange(60) < 2
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    made = fitting.fit(
      *(x_N, right_N, [str(n) for n in range(60)]),
      method="platt",
      aim=("f1", math.nan),
      is_probable=False,
    )
  assert made["figures"]["before"] is None
  low, high = made["figures"]["average_precision"]["interval"]
  assert 0 <= low < high <= 1


def test_noise_is_not_taken_for_knowledge():
  """Figures are of pictures that the fit has not seen."""
  rng = np.random.default_rng(0)
  x_N, right_N = rng.normal(size=200), rng.random(200) < 0.5
  made = fitting.fit(
    *(x_N, right_N, [str(n) for n in range(200)]),
    method="isotonic",
    aim=("precision", 0.95),
    is_probable=False,
  )
  low, high = made["figures"]["precision"]["interval"]
  assert low < 0.5 < high


@pytest.mark.parametrize(
  "value", ["F1", "precision", "recall=0", "recall=2", "precision=x", "f1=1"]
)
def test_targets_that_are_refused(value):
  with pytest.raises(ValueError, match="--target must be f1"):
    fitting.target(value)
