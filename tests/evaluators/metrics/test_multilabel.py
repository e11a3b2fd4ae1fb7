import itertools

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from evaluators.metrics import multilabel


def random_set(seed, *, grid):
  rng = np.random.default_rng(seed)
  n, num_classes = rng.integers(2, 60), rng.integers(1, 6)
  right = rng.random((n, num_classes)) < rng.random(num_classes)
  score = rng.normal(size=(n, num_classes)) + right
  return (np.round(score) if grid else score), right


@pytest.mark.parametrize("grid", [False, True])
def test_average_precision_equals_sklearn(grid):
  for seed in range(50):
    score, right = random_set(seed, grid=grid)
    got = multilabel.average_precisions(score, right)
    for a in range(right.shape[1]):
      if right[:, a].any():
        want = sklearn_metrics.average_precision_score(right[:, a], score[:, a])
        assert got[a] == pytest.approx(want, rel=1e-12)
      else:
        assert np.isnan(got[a])


def ap_of_clip_benchmark(score, right):
  """Mean precision at the right images, in the order of scores."""
  truth = right[np.argsort(-score)]
  precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
  return precision[truth].sum() / truth.sum()


def ap_of_voc2007(score, right):
  """Formula of the development kit's VOCap.m, recalls as they are there."""
  truth = right[np.argsort(-score)]
  precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
  recall = np.cumsum(truth) / truth.sum()
  # The kit's recalls are multiples of 0.1, which a float may just miss.
  return np.mean([precision[recall >= t / 10 - 1e-9].max() for t in range(11)])


def test_forms_equal_their_papers_code():
  for seed in range(200):
    score, right = random_set(seed, grid=False)
    ap = multilabel.average_precisions(score, right)
    points = multilabel.average_precisions(score, right, is_11_point=True)
    for a in np.flatnonzero(right.any(axis=0)):
      args = score[:, a], right[:, a]
      assert ap[a] == pytest.approx(ap_of_clip_benchmark(*args), rel=1e-12)
      assert points[a] == pytest.approx(ap_of_voc2007(*args), rel=1e-12)


def test_figures():
  score = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.4, 0.7, 0.5]])
  right = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]])
  got = multilabel.figures(score, right)
  assert got == pytest.approx(
    {
      "num_classes": 3,
      "num_examples": 3,
      "num_classes_scored": 2,
      "mean_ap": (1 + 1 / 2) / 2,
      "mean_ap_11_point": (1 + 1 / 2) / 2,
      "chance": (2 / 3 + 1 / 3) / 2,
    }
  )


def test_images_that_do_not_count_are_as_absent():
  score, right = random_set(7, grid=False)
  counted = np.random.default_rng(0).random(score.shape) < 0.7
  got = multilabel.average_precisions(score, right, counted)
  for a in range(score.shape[1]):
    rows = counted[:, a]
    want = multilabel.average_precisions(
      score[rows][:, [a]], right[rows][:, [a]]
    )
    np.testing.assert_array_equal(got[a], want[0])


def test_order_of_tied_images_does_not_matter():
  score, right = random_set(5, grid=True)
  order = np.random.default_rng(0).permutation(len(score))
  for is_11_point in (False, True):
    got, want = (
      multilabel.average_precisions(*arrays, is_11_point=is_11_point)
      for arrays in ((score[order], right[order]), (score, right))
    )
    np.testing.assert_array_equal(got, want)


def test_chance_is_the_mean_of_random_orders():
  rng = np.random.default_rng(0)
  right = rng.random((20_000, 3)) < [0.1, 0.3, 0.5]
  got = multilabel.figures(rng.random(right.shape), right)
  assert got["mean_ap"] == pytest.approx(got["chance"], abs=0.02)


def test_jaccard_equals_datacomp_on_1000_cases():
  rng = np.random.default_rng(0)
  for _ in range(1000):
    size = int(rng.choice([5, 6, 10, 12]))
    right = rng.permutation(np.arange(size) < rng.integers(1, size))
    score = rng.normal(size=size)
    # eval_utils/wino_eval.py: the n best by argsort, then scikit-learn.
    chosen = np.isin(np.arange(size), np.argsort(score)[-right.sum() :])
    want = (chosen & right).sum() / (chosen | right).sum()
    assert multilabel.jaccard(score, right) == want


def test_jaccard_equals_sklearn():
  rng = np.random.default_rng(1)
  right = rng.permutation(np.arange(12) < 5)
  score = rng.normal(size=12) + right
  chosen = np.isin(np.arange(12), np.argsort(score)[-5:])
  want = sklearn_metrics.jaccard_score(right, chosen)
  assert 0 < want < 1
  assert multilabel.jaccard(score, right) == pytest.approx(want)


def test_candidates_tied_across_the_border_are_not_chosen():
  right = np.array([1, 1, 0, 0])
  assert multilabel.jaccard(np.ones(4), right) == 0
  assert multilabel.jaccard(np.array([2, 2, 1, 1]), right) == 1
  assert multilabel.jaccard(np.array([3, 1, 1, 0]), right) == 1 / 2
  with pytest.raises(ValueError, match="at least one right"):
    multilabel.jaccard(np.ones(3), np.zeros(3))


def test_jaccards_are_averaged_by_number_of_candidates():
  rng = np.random.default_rng(0)
  sizes = [5, 6, 10, 12, 12]
  rights = [rng.permutation(np.arange(size) < 2) for size in sizes]
  scores = [rng.normal(size=size) for size in sizes]
  value, got = multilabel.jaccards(scores, rights)
  assert got == pytest.approx(
    {
      "num_items": 5,
      "num_items_10-12": 3,
      "jaccard": value.mean(),
      "jaccard_5-6": value[:2].mean(),
      "jaccard_10-12": value[2:].mean(),
    }
  )
  assert "jaccard_10-12" not in multilabel.jaccards(scores[:2], rights[:2])[1]


@pytest.mark.parametrize(("size", "num_right"), [(5, 2), (6, 3), (4, 4)])
def test_jaccard_chance_is_the_mean_over_all_orders(size, num_right):
  right = np.arange(size) < num_right
  values = [
    multilabel.jaccard(np.array(order), right)
    for order in itertools.permutations(range(size))
  ]
  got = multilabel.jaccard_chance(size, num_right)
  assert got == pytest.approx(np.mean(values), rel=1e-12)


def test_refusals():
  with pytest.raises(ValueError, match="shape of the scores"):
    multilabel.average_precisions(np.ones((3, 2)), np.ones((2, 3)))
  with pytest.raises(ValueError, match="at least one right image"):
    multilabel.figures(np.ones((3, 2)), np.zeros((3, 2)))
