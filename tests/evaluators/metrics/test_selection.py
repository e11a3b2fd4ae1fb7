"""Selection among the images and texts of an item."""

import numpy as np
import pytest

from evaluators.metrics import selection


def _reference(sim_KIT):
  """Return Winoground's scores, by the inequalities of its paper."""
  rows = []
  for (a, b), (c, d) in sim_KIT.tolist():
    text = a > b and d > c
    image = a > c and d > b
    rows.append((text, image, text and image))
  return np.array(rows).T


def test_winoground_scores():
  sims = np.random.default_rng(0).normal(size=(1000, 2, 2))
  hits = selection.matched(sims)
  for name, wanted in zip(
    ("text", "image", "group"), _reference(sims), strict=True
  ):
    np.testing.assert_array_equal(hits[name], wanted)
    assert abs(hits[name].mean() - selection.matched_chance(2, 2)[name]) < 0.05


def test_one_image_and_two_texts():
  sims = np.array([[[0.3, 0.2]], [[0.2, 0.3]], [[0.2, 0.2]]])
  hits = selection.matched(sims)
  assert hits["text"].tolist() == [True, False, False]  # a tie is no choice
  assert hits["image"].all()
  assert hits["group"].tolist() == hits["text"].tolist()


@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (1, 4), (2, 2)])
def test_chance_is_the_mean_of_random_items(shape):
  sims = np.random.default_rng(1).normal(size=(40_000, *shape))
  hits, chance = selection.matched(sims), selection.matched_chance(*shape)
  for name, wanted in chance.items():
    assert hits[name].mean() == pytest.approx(wanted, abs=0.01)


def test_broken_embeddings_choose_nothing():
  nan = np.full((1, 2, 2), np.nan)
  assert not any(hits.any() for hits in selection.matched(nan).values())
  assert selection.jaccard([nan[0, 0]], [[1]]).tolist() == [0.0]


def test_similarities_are_of_the_rows():
  zimg, ztxt = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[::-1]
  one, two = selection.similarities(zimg, ztxt, [[0], [3, 1]], [[3, 0], [0, 2]])
  assert one.tolist() == [[1, 0]]
  assert two.tolist() == [[1, 0], [0, 1]]


def test_jaccard_is_intersection_over_union():
  random = np.random.default_rng(2)
  sims, right, wanted = [], [], []
  for _ in range(200):
    size = int(random.choice([5, 6, 10, 12]))
    sims.append(random.normal(size=size))
    right.append(random.permutation(size)[: random.integers(1, 4)].tolist())
    # As DataComp chooses: eval_utils/wino_eval.py.
    best = {*np.argsort(sims[-1])[-len(right[-1]) :].tolist()}
    truth = {*right[-1]}
    wanted.append(len(best & truth) / len(best | truth))
  np.testing.assert_allclose(selection.jaccard(sims, right), wanted, rtol=1e-12)


def test_jaccard_counts_ties_as_wrong():
  assert selection.jaccard([np.zeros(4)], [[0, 1]]).tolist() == [0.0]
  assert selection.jaccard([np.zeros(2)], [[0, 1]]).tolist() == [1.0]


def test_winogavil_is_averaged_by_size():
  figures = selection.winogavil(
    np.array([0.0, 0.5, 1.0, 0.5]), np.array([5, 6, 10, 12])
  )
  assert figures["avg_jaccard_score"] == 0.5
  assert figures["jaccard_score_5-6"] == 0.25
  assert figures["jaccard_score_10-12"] == 0.75
  assert figures["jaccard_score_12"] == 0.5
  assert "jaccard_score_10" not in selection.winogavil(
    np.array([1.0]), np.array([5])
  )
