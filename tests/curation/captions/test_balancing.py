"""Balancing: closed form, draws, and choice of t."""

import numpy as np
import pytest

from curation.captions import balancing, matching
from curation.keys import hashing
from input_pipeline.storage import uids as uids_lib


def matches_of(lists):
  offsets = np.cumsum([0, *map(len, lists)])
  ids = np.array([i for entries in lists for i in entries], np.uint32)
  return matching.Matches(offsets, ids)


def make_uids(number):
  uids = np.zeros(number, uids_lib.UID)
  uids["f1"] = np.arange(number)
  return uids


def test_probability_is_that_of_one_entry_or_another():
  misses = balancing.miss_probabilities(np.array([0, 10, 20, 40]), 10)
  assert misses.tolist() == [0, 0, 0.5, 0.75]
  found = balancing.keep_probabilities(
    matches_of([[], [3], [2, 3], [], [1, 3], [0], []]), misses
  )
  assert found.tolist() == [0, 0.25, 1 - 0.5 * 0.75, 0, 1, 1, 0]
  assert balancing.keep_probabilities(matches_of([[], []]), misses).sum() == 0


def test_keeps_at_the_rate_of_the_closed_form():
  misses = balancing.miss_probabilities(np.array([100, 1000, 30]), 25)
  lists = [[0], [1], [0, 1], [0, 1, 2]]
  num = 50_000
  matches = matches_of([entries for entries in lists for _ in range(num)])
  found = balancing.keep_probabilities(matches, misses)
  kept = hashing.uniform(make_uids(4 * num), 3) < found
  for own, chances in zip(
    kept.reshape(4, num), found.reshape(4, num), strict=True
  ):
    rate = chances[0]
    # 3 sigma of a binomial; with this seed it is so or not for good.
    sigma = np.sqrt(rate * (1 - rate) / num)
    assert abs(own.mean() - rate) < 3 * sigma


def test_a_larger_t_keeps_all_that_a_smaller_one_keeps():
  rng = np.random.default_rng(0)
  counts = rng.zipf(1.2, 300) % 100_000
  lists = [rng.integers(300, size=size) for size in rng.poisson(3, 20_000)]
  matches = matches_of(lists)
  draws = hashing.uniform(make_uids(len(lists)), 0)
  before = np.zeros(len(lists), bool)
  for t in (1, 2, 20, 21, 3000, 200_000):
    misses = balancing.miss_probabilities(counts, t)
    kept = draws < balancing.keep_probabilities(matches, misses)
    assert kept[before].all()
    assert kept.sum() > before.sum()
    before = kept


@pytest.mark.parametrize("mass", [0.01, 0.06, 0.3, 0.9])
def test_t_has_the_tail_mass_nearest_to_the_wanted(mass):
  counts = np.random.default_rng(1).zipf(1.5, 2000) % 5000
  t = balancing.t_of_tail_mass(counts, mass)
  distance = abs(balancing.tail_mass(counts, t) - mass)
  for other in range(1, 5001):
    assert distance <= abs(balancing.tail_mass(counts, other) - mass)


def test_t_and_tail_mass_turn_each_other_around():
  counts = np.array([1, 1, 2, 5, 5, 9, 30, 0])
  for t in (1, 2, 5, 9, 30, 31):
    mass = balancing.tail_mass(counts, t)
    assert balancing.t_of_tail_mass(counts, mass) == t
  # The published way lands one entry lower: its own count is in the sum.
  mass = balancing.tail_mass(counts, 9)
  assert balancing.published_t_of_tail_mass(counts, mass) == 5


def test_nothing_matched_has_a_t_of_one():
  for find in (balancing.t_of_tail_mass, balancing.published_t_of_tail_mass):
    assert find(np.zeros(3, np.int64), 0.06) == 1
    assert find(np.zeros(0, np.int64), 0.06) == 1
  assert balancing.tail_mass(np.zeros(3, np.int64), 5) == 0
