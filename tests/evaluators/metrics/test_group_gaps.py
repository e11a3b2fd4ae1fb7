"""Gaps between groups, their intervals, and disparity of rankings."""

import itertools
import math

import numpy as np
import pytest

from evaluators.metrics import group_gaps, groups


def _groups(right, n):
  names = tuple(f"g{i}" for i in range(len(n)))
  return groups.Groups(names, np.array(n), np.array(right) / np.array(n))


def test_gap_of_two_groups_is_that_of_their_difference():
  got = group_gaps.gap(_groups([180, 120], [200, 200]))
  assert got["gap"] == pytest.approx(0.3)
  assert (got["best"], got["worst"]) == ("g0", "g1")
  # Agresti and Caffo's standard error; of two groups max-t is nearly normal.
  shares = [181 / 202, 121 / 202]
  error = math.sqrt(sum(p * (1 - p) / 200 for p in shares))
  want = [0.3 - 1.96 * error, 0.3 + 1.96 * error]
  np.testing.assert_allclose(got["interval"], want, atol=0.006)
  assert group_gaps.gap(_groups([180, 120], [200, 200])) == got


def test_interval_holds_all_pairs_at_once():
  """Bounds beside a loop over pairs, with another stream of numbers."""
  table = _groups([45, 30, 33, 60], [50, 40, 50, 80])
  got = group_gaps.gap(table)
  share = (table.mean_G * table.n_G + 1) / (table.n_G + 2)
  error = np.sqrt(share * (1 - share) / table.n_G)
  rng = np.random.default_rng(0)
  off = rng.binomial(table.n_G, share, size=(20_000, 4)) / table.n_G - share
  pairs = list(itertools.permutations(range(4), 2))
  both = {(i, j): math.hypot(error[i], error[j]) for i, j in pairs}
  t = np.max([(off[:, i] - off[:, j]) / both[i, j] for i, j in pairs], axis=0)
  bound = np.quantile(t, 0.95)
  for end, sign in zip(got["interval"], (-1, 1), strict=True):
    want = max(
      table.mean_G[i] - table.mean_G[j] + sign * bound * both[i, j]
      for i, j in pairs
    )
    assert end == pytest.approx(want, abs=0.01)


def test_groups_left_out_and_empty_do_not_count():
  table = groups.Groups(
    ("a", "(none)", "b", "c"),
    np.array([100, 50, 100, 0]),
    np.array([0.9, 0.1, 0.8, np.nan]),
  )
  got = group_gaps.gap(table, ("(none)",))
  assert got["gap"] == pytest.approx(0.1)
  assert got["worst"] == "b"
  assert got["interval"][0] >= 0
  alone = group_gaps.gap(table, ("(none)", "b"))
  assert (alone["gap"], alone["interval"]) == (None, None)
  assert (alone["best"], alone["worst"]) == ("a", "a")
  none = group_gaps.gap(table, ("(none)", "a", "b"))
  assert set(none.values()) == {None}


@pytest.mark.parametrize(("share", "n"), [((0.7,) * 7, 200), ((0.9, 0.6), 50)])
def test_interval_holds_the_true_gap(share, n):
  rng = np.random.default_rng(0)
  true, held = max(share) - min(share), 0
  for _ in range(400):
    right = rng.binomial(n, share)
    low, high = group_gaps.gap(_groups(right, [n] * len(share)))["interval"]
    held += low <= true <= high
  # 95 % less two standard errors of 400.
  assert held / 400 >= 0.925


def test_top_is_that_of_a_sort_of_everything():
  rng = np.random.default_rng(0)
  score_NA = rng.integers(0, 9, (50, 4)).astype(np.float32)
  order = np.argsort(-score_NA, axis=0, kind="stable")
  for k in (1, 7, 50, 80):
    for size in (3, 50):
      blocks = [score_NA[i : i + size] for i in range(0, 50, size)]
      np.testing.assert_array_equal(group_gaps.top(blocks, k), order[:k].T)


def test_disparity_by_hand():
  # Of 4 results: 3 and 1, 2 and 2; the gallery is half and half.
  got = group_gaps.disparity(
    np.array([[0, 0, 1, 0], [1, 0, 0, 1]]), np.array([0.5, 0.5])
  )
  np.testing.assert_allclose(got["shares"], [[0.75, 0.25], [0.5, 0.5]])
  np.testing.assert_allclose(got["max_skew"], [math.log(1.5), 0])
  np.testing.assert_allclose(got["min_share"], [0.5, 1])
  np.testing.assert_allclose(got["gap"], [0.25, 0])

  def divergence(*shares):
    return sum(p * math.log(p / 0.5) for p in shares if p)

  weights = [1 / math.log2(i + 1) for i in range(1, 5)]
  for q, tops in enumerate(
    (
      [(1, 0), (1, 0), (2 / 3, 1 / 3), (0.75, 0.25)],
      [(0, 1), (0.5, 0.5), (2 / 3, 1 / 3), (0.5, 0.5)],
    )
  ):
    parts = [divergence(*top) for top in tops]
    want = np.dot(weights, parts) / sum(weights)
    assert got["ndkl"][q] == pytest.approx(want)
  row = group_gaps.rows(("a", "b"), got, 0)
  assert row["shares"] == {"a": 0.75, "b": 0.25}


def test_skew_at_random_is_that_of_draws():
  share = np.array([0.5, 0.3, 0.2])
  got = group_gaps.at_random(share, 10, 100)
  rng = np.random.default_rng(1)
  gallery = np.repeat([0, 1, 2], [50, 30, 20])
  skews = []
  for _ in range(4000):
    drawn = np.bincount(rng.choice(gallery, 10, replace=False), minlength=3)
    skews.append(math.log((drawn / 10 / share).max()))
  assert got == pytest.approx(np.mean(skews), abs=0.02)
  # All of the gallery has its shares.
  assert group_gaps.at_random(share, 100, 100) == pytest.approx(0, abs=1e-12)
