"""Few-shot classifiers equal references written from their papers."""

import numpy as np
import pytest
from sklearn import linear_model, neighbors

from evaluators.probes import examples as examples_lib
from evaluators.probes import few_shot


def make(num, seed=0, num_classes=5, dim=12):
  rng = np.random.default_rng(seed)
  mean = np.random.default_rng(7).normal(size=(num_classes, dim))
  label = rng.permutation(np.arange(num) % num_classes)
  x = mean[label] + rng.normal(size=(num, dim))
  return examples_lib.Examples(
    x.astype(np.float32), label, rng.integers(0, 256, (num, 16), np.uint8)
  )


@pytest.mark.parametrize("num", [8, 40], ids=["fewer", "more_than_features"])
@pytest.mark.parametrize("l2", [1e-3, 2.0**10])
def test_ridge_is_the_solution_of_its_normal_equations(num, l2):
  train, test = make(num), make(30, seed=1)
  x = np.asarray(train.x_ND, np.float64)
  mean, std = x.mean(0), x.std(0) + 1e-5
  x = np.column_stack([(x - mean) / std, np.full(num, 100.0)])
  q = np.column_stack([(test.x_ND - mean) / std, np.full(30, 100.0)])
  y = 2 * np.eye(5)[train.label_N] - 1
  w = np.linalg.solve(x.T @ x + l2 * np.eye(13), x.T @ y)
  score = few_shot.ridge(
    train.x_ND, train.label_N, test.x_ND, num_classes=5, l2=l2
  )
  np.testing.assert_allclose(score, q @ w, rtol=1e-5, atol=1e-7)
  # The same from a library, of which the bias is a feature too.
  model = linear_model.Ridge(alpha=l2, fit_intercept=False).fit(x, y)
  np.testing.assert_allclose(score, model.predict(q), rtol=1e-5, atol=1e-7)


def test_nearest_mean_is_scikit_learns_nearest_centroid():
  train, test = make(35), make(60, seed=1)
  score = few_shot.nearest_mean(
    train.x_ND, train.label_N, test.x_ND, num_classes=6
  )
  model = neighbors.NearestCentroid().fit(train.x_ND, train.label_N)
  np.testing.assert_array_equal(score.argmax(axis=1), model.predict(test.x_ND))
  assert np.isneginf(score[:, 5]).all()
  distance = np.linalg.norm(test.x_ND[3] - model.centroids_[2])
  np.testing.assert_allclose(score[3, 2], -(distance**2), rtol=1e-5)


def test_simple_shot_centres_normalises_and_takes_the_nearest_mean():
  train, test = make(25), make(40, seed=1)
  mean = train.x_ND.astype(np.float64).mean(0)

  def unit(x):
    return (x - mean) / np.linalg.norm(x - mean)

  expected = [
    [
      -(
        np.linalg.norm(
          unit(q)
          - np.mean([unit(x) for x in train.x_ND[train.label_N == a]], axis=0)
        )
        ** 2
      )
      for a in range(5)
    ]
    for q in test.x_ND
  ]
  score = few_shot.simple_shot(
    train.x_ND, train.label_N, test.x_ND, num_classes=5
  )
  np.testing.assert_allclose(score, expected, rtol=1e-9)
  # Without its normalisations it is another classifier.
  plain = few_shot.nearest_mean(
    train.x_ND, train.label_N, test.x_ND, num_classes=5
  )
  assert (plain.argmax(axis=1) != score.argmax(axis=1)).any()


def test_shots_are_nested_balanced_and_independent_of_order():
  train = make(100)
  one, five = (few_shot.choose(train, n, seed=0) for n in (1, 5))
  assert set(one) <= set(five)
  np.testing.assert_array_equal(np.bincount(train.label_N[five]), [5] * 5)
  order = np.random.default_rng(3).permutation(100)
  shuffled = few_shot.choose(train.take(order), 5, seed=0)
  np.testing.assert_array_equal(np.sort(order[shuffled]), five)
  assert set(few_shot.choose(train, 5, seed=1)) != set(five)


def test_evaluate_reports_the_spread_over_seeds():
  train, test = make(100), make(200, seed=1)
  results = few_shot.evaluate(train, test, num_classes=5, shots=(1, 25))
  assert list(results) == list(few_shot.METHODS)
  row = results["simple_shot"]["1_shot"]
  expected = []
  for seed in range(3):
    part = train.take(few_shot.choose(train, 1, seed))
    score = few_shot.simple_shot(
      part.x_ND, part.label_N, test.x_ND, num_classes=5
    )
    expected.append(np.mean(score.argmax(axis=1) == test.label_N))
  assert row["seeds"] == expected
  assert row["top_1"] == pytest.approx(np.mean(expected))
  assert row["std"] == pytest.approx(np.std(expected, ddof=1))
  assert (row["min"], row["max"]) == (min(expected), max(expected))
  assert row["std"] > 0
  assert row["num_examples"] == 5
  assert row["short_classes"] == 0
  # A class has 20 examples: 25 shots are all of them, whatever the seed.
  row = results["ridge"]["25_shot"]
  assert row["num_examples"] == 100
  assert row["short_classes"] == 5
  assert row["std"] == 0
  assert row["top_1"] > results["ridge"]["1_shot"]["top_1"]


def test_one_seed_has_no_spread():
  results = few_shot.evaluate(
    make(50), make(50, 1), num_classes=5, shots=(2,), num_seeds=1
  )
  assert results["ridge"]["2_shot"]["std"] == 0.0


def test_bad_values_are_all_named():
  with pytest.raises(ValueError, match="(?s)num_seeds.*l2.*shots.*methods"):
    few_shot.evaluate(
      make(10),
      make(10),
      num_classes=5,
      shots=(0,),
      num_seeds=0,
      l2=0,
      methods=("svm",),
    )
