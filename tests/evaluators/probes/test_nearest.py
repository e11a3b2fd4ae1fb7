"""Neighbours equal scikit-learn's, their votes DINO's, in any blocks."""

import numpy as np
import pytest
from sklearn import neighbors

from evaluators.probes import nearest


def make(num, seed):
  rng = np.random.default_rng(seed)
  mean = np.random.default_rng(7).normal(size=(6, 16)) / 2
  label = rng.integers(0, 6, num)
  return (mean[label] + rng.normal(size=(num, 16))).astype(np.float32), label


@pytest.fixture(name="small_blocks", params=[False, True], ids=["one", "many"])
def set_blocks(request, monkeypatch):
  if request.param:
    monkeypatch.setattr(nearest, "_QUERIES", 16)
    monkeypatch.setattr(nearest, "_CANDIDATES", 70)


@pytest.mark.usefixtures("small_blocks")
def test_neighbours_are_scikit_learns():
  (x, _), (q, _) = make(300, 0), make(90, 1)
  sim, row = nearest.neighbours(x, q, k=20)
  model = neighbors.NearestNeighbors(metric="cosine", algorithm="brute")
  distance, expected = model.fit(x).kneighbors(q, 20)
  np.testing.assert_array_equal(row, expected)
  np.testing.assert_allclose(sim, 1 - distance, atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_majority_is_scikit_learns():
  (x, label), (q, _) = make(300, 0), make(90, 1)
  predicted = nearest.classify(
    x, label, q, num_classes=6, k=1, temperature=None
  )
  model = neighbors.KNeighborsClassifier(1, metric="cosine").fit(x, label)
  np.testing.assert_array_equal(predicted, model.predict(q))
  # Of an odd k, but where two classes tie, of which ours is the nearer.
  predicted = nearest.classify(
    x, label, q, num_classes=6, k=15, temperature=None
  )
  model = neighbors.KNeighborsClassifier(15, metric="cosine").fit(x, label)
  votes = np.sort(model.predict_proba(q), axis=1)
  is_clear = votes[:, -1] > votes[:, -2] + 1e-9
  assert 0 < (~is_clear).sum() < 45
  np.testing.assert_array_equal(predicted[is_clear], model.predict(q)[is_clear])


@pytest.mark.parametrize("temperature", [0.07, 1e-2])
def test_votes_are_weighted_as_dinos(temperature):
  (x, label), (q, _) = make(300, 0), make(90, 1)
  x64, q64 = (
    z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True)
    for z in (x, q)
  )
  sim = q64 @ x64.T
  expected = []
  for row in sim:
    top = np.argsort(-row)[:20]
    votes = np.bincount(label[top], np.exp(row[top] / temperature))
    expected.append(votes.argmax())
  predicted = nearest.classify(
    x, label, q, num_classes=6, temperature=temperature
  )
  np.testing.assert_array_equal(predicted, expected)
  majority = nearest.classify(x, label, q, num_classes=6, temperature=None)
  assert (majority != predicted).any()


@pytest.mark.usefixtures("small_blocks")
def test_equally_near_neighbours_come_by_row():
  x = np.tile(np.eye(2, dtype=np.float32), (100, 1))
  _, row = nearest.neighbours(x, x[:2], k=5)
  np.testing.assert_array_equal(row, [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]])


def test_of_equal_votes_the_nearest_class_wins():
  predicted = nearest.predict(
    np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]]),
    np.array([[3, 1, 1, 3], [2, 0, 0, 0]]),
    num_classes=4,
    temperature=None,
  )
  np.testing.assert_array_equal(predicted, [3, 0])


def test_no_similarity_overflows():
  sim = np.array([[1.0, 0.999, 0.999]], np.float32)
  predicted = nearest.predict(
    sim, np.array([[4, 5, 5]]), num_classes=6, temperature=1e-5
  )
  assert predicted == [4]


def test_zero_features_are_far_from_all():
  x = np.array([[0, 0], [1, 0]], np.float32)
  sim, row = nearest.neighbours(x, x[1:], k=2)
  np.testing.assert_array_equal(sim, [[1, 0]])
  np.testing.assert_array_equal(row, [[1, 0]])


@pytest.mark.parametrize("k", [0, 4])
def test_k_is_between_one_and_the_examples(k):
  with pytest.raises(ValueError, match=f"k must be between 1 and 3; got {k}"):
    nearest.neighbours(np.eye(3), np.eye(3), k)
