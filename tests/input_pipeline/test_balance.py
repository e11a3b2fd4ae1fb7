"""An epoch has each example once, or few of each concept."""

import collections

import numpy as np
import pytest

from input_pipeline import balance, pipeline
from input_pipeline.sources import array_record


def _records(*concepts: str) -> list[array_record.Record]:
  return [
    array_record.Record(str(i), b"", {"en": "name"}, concept)
    for i, concept in enumerate(concepts)
  ]


def test_without_a_limit_each_example_has_a_place():
  places = balance.places(_records("a", "a", "b", ""), 0)
  assert list(places) == [(0,), (1,), (2,), (3,)]


def test_a_limit_takes_places_from_large_concepts_only():
  places = balance.places(_records("a", "b", "a", "a", "b"), 2)
  assert list(places) == [(0, 2, 3), (0, 2, 3), (1,), (4,)]


def test_examples_without_a_concept_are_not_one_concept():
  assert list(balance.places(_records("", "", ""), 1)) == [(0,), (1,), (2,)]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_example_is_out_of_reach(config, limit):
  folder = pipeline.prepare(config)
  records = array_record.Records(folder / "train.array_record")
  places = balance.places(records, limit)
  assert {i for place in places for i in place} == set(range(len(records)))
  counts = collections.Counter(records[place[0]].concept for place in places)
  assert max(counts.values()) == limit
  # All variants of a place are of one concept.
  for place in places[::50]:
    assert len({records[i].concept for i in place}) == 1
  # Most emoji have no skin tone, but not most drawings.
  assert len(places) < 0.8 * len(records)


def test_candidates_of_a_place_are_all_drawn():
  rng = np.random.default_rng(0)
  place = balance.places(_records("a", "a", "a"), 1)[0]
  assert {place[rng.integers(len(place))] for _ in range(60)} == {0, 1, 2}
