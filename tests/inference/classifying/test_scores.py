"""Scores of labels: evidence, and the highest of many."""

import numpy as np
import pytest

from inference.classifying import scores


@pytest.mark.parametrize("num", [1, 3, 7, 9])
def test_the_highest_are_those_of_a_stable_sort(num):
  rng = np.random.default_rng(num)
  value_nA = rng.integers(0, 4, (50, 9)).astype(np.float32)  # many ties
  expected = np.argsort(-value_nA, axis=1, kind="stable")[:, :num]
  np.testing.assert_array_equal(scores.top(value_nA, num), expected)


def _scorer(loss, num_background):
  rng = np.random.default_rng(0)
  z = rng.standard_normal((3 + num_background, 8)).astype(np.float32)
  z /= np.linalg.norm(z, axis=1, keepdims=True)
  return scores.Scorer(z[:3], z[3:], scale=9.0, bias=-1.5, loss=loss)


def _probability(scorer, zimg_NE):
  (_, sim_NA), *others = scorer.similarities(zimg_NE)
  assert not others
  return scores.logistic(scorer.evidence(zimg_NE, sim_NA)), sim_NA


def test_evidence_is_what_the_loss_says():
  zimg_NE = _scorer("softmax", 5).zbackground_BE
  scorer = _scorer("sigmoid", 0)
  p_NA, sim_NA = _probability(scorer, zimg_NE)
  np.testing.assert_allclose(
    p_NA, 1 / (1 + np.exp(1.5 - 9 * sim_NA.astype(float))), rtol=1e-12
  )
  assert scorer.kind == scores.Kind.SIGMOID
  # The softmax of a label and the background alone, for each label.
  scorer = _scorer("softmax", 5)
  p_NA, sim_NA = _probability(scorer, zimg_NE)
  other_N = np.exp(9.0 * (zimg_NE @ scorer.zbackground_BE.T)).sum(axis=1)
  own_NA = np.exp(9.0 * sim_NA)
  np.testing.assert_allclose(
    p_NA, own_NA / (own_NA + other_N[:, None]), rtol=1e-5
  )
  assert scorer.kind == scores.Kind.BACKGROUND
  assert _scorer("softmax", 0).kind == scores.Kind.SIMILARITY


def test_similarities_come_in_blocks(monkeypatch):
  monkeypatch.setattr(scores, "_NUM_SCORES", 7)
  scorer = _scorer("softmax", 5)
  zimg_NE = scorer.zbackground_BE
  blocks = [*scorer.similarities(zimg_NE)]
  assert [len(sim_nA) for _, sim_nA in blocks] == [2, 2, 1]
  np.testing.assert_allclose(
    np.concatenate([sim_nA for _, sim_nA in blocks]),
    zimg_NE @ scorer.zlabel_AE.T,
    atol=1e-6,
  )
