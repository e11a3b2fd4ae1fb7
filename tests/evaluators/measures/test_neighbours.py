"""Retrieval of images by an image."""

import types

import numpy as np
import pytest

from evaluators.measures import measure, neighbours


def _context(x_ND, label_N):
  examples = types.SimpleNamespace(x_ND=x_ND, label_N=label_N)
  part = types.SimpleNamespace(labelled=lambda: examples)
  return types.SimpleNamespace(test=lambda: part, features="embedding")


def _by_hand(x_ND, label_N, k):
  x_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
  sim_NN = x_ND @ x_ND.T
  np.fill_diagonal(sim_NN, -np.inf)
  row_NK = np.argsort(-sim_NN, axis=1, kind="stable")[:, :k]
  return label_N[row_NK] == label_N[:, None]


def test_figures_are_those_of_all_pairs():
  rng = np.random.default_rng(0)
  label_N = rng.integers(0, 4, 60)
  label_N[0] = 9  # has no other of its class
  x_ND = rng.normal(size=(60, 8)) + 2 * np.eye(10, 8)[label_N]
  record = neighbours.image_to_image(_context(x_ND, label_N)).record
  expected = _by_hand(x_ND, label_N, 10)[1:]
  assert record["num_examples"] == 59
  assert record["protocol"]["num_without_another"] == 1
  for k in neighbours.KS:
    part = expected[:, :k]
    assert record[f"hit@{k}"] == part.any(axis=1).mean()
    assert record[f"precision@{k}"] == pytest.approx(part.mean())
    low, high = record["intervals"][f"precision@{k}"]
    assert low < record[f"precision@{k}"] < high


def test_chance_is_the_mean_of_random_embeddings():
  rng = np.random.default_rng(1)
  label_N = np.repeat([0, 1, 2], [5, 10, 15])
  records = [
    neighbours.image_to_image(
      _context(rng.normal(size=(30, 4)), label_N)
    ).record
    for _ in range(40)
  ]
  for name, chance in records[0]["chance"].items():
    # 40 means of 30 images that are not independent: four standard errors.
    values = [record[name] for record in records]
    error = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(chance, abs=4 * error + 1e-9), name


def test_equal_images_do_not_retrieve_themselves():
  label_N = np.arange(40)
  label_N[-1] = 0
  same_NK, others_N = neighbours.same_class(np.ones((40, 2)), label_N, 10)
  # Only the last one finds another of its class: the first one, row 0.
  assert np.argwhere(same_NK).tolist() == [[39, 0]]
  assert others_N[[0, -1, 5]].tolist() == [1, 1, 0]


def test_too_few_images():
  with pytest.raises(measure.NotTaken, match="more than 10 images"):
    neighbours.image_to_image(_context(np.eye(4), np.array([0, 0, 1, 1])))
