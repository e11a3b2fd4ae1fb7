"""Near hashes, against comparing all pairs."""

import numpy as np
import pytest

from curation.keys import hamming


def planted(num_hashes=300, seed=0):
  """Return hashes, most of them some flipped bits away from another."""
  rng = np.random.default_rng(seed)
  hashes = rng.integers(0, 2**64, num_hashes, np.uint64)
  for n in range(40, num_hashes):
    bits = rng.choice(64, rng.integers(0, 14), replace=False)
    flips = np.bitwise_or.reduce(
      np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0)
    )
    hashes[n] = hashes[rng.integers(0, n)] ^ flips
  return hashes


def brute_force(hashes, max_distance):
  distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
  return np.nonzero(np.triu(distance <= max_distance, 1))


@pytest.mark.parametrize("max_distance", [0, 1, 2, 3, 4, 10, 11])
def test_all_pairs_are_found_once(max_distance):
  hashes = planted()
  got = hamming.near_pairs(hashes, max_distance)
  expected = brute_force(hashes, max_distance)
  assert len(expected[0]) > 5
  np.testing.assert_array_equal(np.stack(got), np.stack(expected))


def test_parts_do_not_change_what_is_found():
  hashes = planted(100)
  index = hamming.Index(hashes, 3)
  pairs = {
    chunk: {
      pair
      for i, j, _ in index.pairs(hashes, chunk=chunk)
      for pair in zip(i.tolist(), j.tolist(), strict=True)
    }
    for chunk in (1, 7, 1 << 22)
  }
  assert pairs[1] == pairs[7] == pairs[1 << 22]
  assert len(pairs[1]) > len(hashes)


def test_nearest_in_an_index():
  hashes = planted()
  hashes[60] = hashes[7]
  distance = np.bitwise_count(hashes[50:, None] ^ hashes[None, :50]).min(1)
  for max_distance in (0, 2, 6):
    got = hamming.Index(hashes[:50], max_distance).nearest(hashes[50:])
    expected = np.where(distance <= max_distance, distance, hamming.FAR)
    assert 0 < (expected < hamming.FAR).mean() < 1
    np.testing.assert_array_equal(got, expected)
  empty = hamming.Index(np.empty(0, np.uint64), 6).nearest(hashes)
  assert (empty == 255).all()


def test_who_is_kept_is_the_greedy_choice_whatever_the_order():
  hashes = planted()
  rng = np.random.default_rng(1)
  priority = rng.permutation(len(hashes))
  first, second = brute_force(hashes, 10)
  expected = np.zeros(len(hashes), bool)
  for n in np.argsort(priority):
    near = np.bitwise_count(hashes ^ hashes[n]) <= 10
    expected[n] = not (near & expected).any()
  got = hamming.kept(first, second, priority)
  assert 0 < expected.sum() < len(hashes)
  np.testing.assert_array_equal(got, expected)
  # The same with the things, and the sides of the pairs, in another order.
  order = rng.permutation(len(hashes))
  place = np.argsort(order)
  moved = hamming.kept(place[second], place[first], priority[order])
  np.testing.assert_array_equal(moved, expected[order])


def test_a_chain_keeps_both_ends():
  first, second = np.array([0, 1]), np.array([1, 2])
  got = hamming.kept(first, second, np.array([0, 1, 2]))
  assert got.tolist() == [True, False, True]


def test_a_distance_out_of_range_is_named():
  message = "steps.a.max_distance must be between 0 and 11"
  with pytest.raises(ValueError, match=message):
    hamming.check_distance(12, "steps.a.max_distance")
