"""Head-heavy pool: shares of concepts and languages, captions, entries."""

import collections

import pytest

from experiments.metaclip import pool

NUM = 4000


def _concept(number):
  tags = {x: (f"{x} a", f"{x} b") for x in pool.LANGUAGES}
  if number == 1:
    tags["en"] = ()
  return pool.Concept(
    f"{0x1F600 + number:X}",
    (f"a/{number}.png", f"b/{number}.png"),
    {x: f"{x} name {number}" for x in pool.LANGUAGES},
    tags,
  )


CONCEPTS = [_concept(number) for number in range(200)]


@pytest.fixture(scope="module")
def pairs():
  return pool.make(CONCEPTS, NUM)


def test_shares_follow_the_laws(pairs):
  languages = collections.Counter(pair.language for pair in pairs)
  whole = sum(1 / (1 + r) for r in range(len(pool.LANGUAGES)))
  concepts = collections.Counter(pair.concept for pair in pairs)
  order = pool.ranked([concept.key for concept in CONCEPTS])
  weights = [(pool.SHIFT + r) ** -pool.POWER for r in range(len(order))]
  # Five standard deviations of a binomial count.
  for number, language in enumerate(pool.LANGUAGES):
    expected = NUM / (1 + number) / whole
    assert abs(languages[language] - expected) < 5 * expected**0.5
  for start, stop in ((0, 20), (100, 200)):
    got = sum(concepts[key] for key in order[start:stop])
    expected = NUM * sum(weights[start:stop]) / sum(weights)
    assert abs(got - expected) < 5 * expected**0.5


def test_captions_are_names_and_tags_of_the_concept(pairs):
  by_key = {concept.key: concept for concept in CONCEPTS}
  forms = collections.Counter()
  for pair in pairs:
    concept = by_key[pair.concept]
    assert pair.image in concept.pictures
    name, tags = concept.names[pair.language], concept.tags[pair.language]
    rest = pair.caption.removeprefix(name)
    has_name = rest != pair.caption
    forms[has_name, bool(rest)] += 1
    if not tags:
      assert pair.caption == name
    elif rest:
      ends = {f" {tag}" for tag in tags} if has_name else {*tags}
      ends |= set() if has_name else {f"{tags[0]} {tags[1]}"}
      ends |= set() if has_name else {f"{tags[1]} {tags[0]}"}
      assert rest in ends
  assert abs(forms[True, False] / NUM - pool.NAMES) < 0.05
  assert abs(forms[True, True] / forms[False, True] - 1) < 0.2


def test_a_smaller_pool_is_the_start_of_a_larger_one(pairs):
  assert pool.make(CONCEPTS[::-1], 50) == pairs[:50]
  assert len({pair.key for pair in pairs}) == NUM


def test_entries_are_names_and_tags_once():
  assert pool.entries(CONCEPTS[:2], "de") == [
    *("de a", "de b", "de name 0", "de name 1"),
  ]
