import collections

import pytest

from experiments.curation import web_noise
from experiments.parts import icon_sets

TITLES = {"one": "One Icons", "two": "Two Icons"}


def icons(num):
  # "common" is the most common name; every tenth icon has it.
  return [
    icon_sets.Icon(
      "one" if i % 2 else "two",
      "common" if i % 10 == 0 else f"name-{i}",
      "",
      *(0, 0, 48, 24 if i % 3 else 48),
    )
    for i in range(num)
  ]


@pytest.fixture(scope="module")
def pairs():
  # Icons are told apart by their key, which sets of real icons have once.
  unique = {icon.key: icon for icon in icons(4000)}
  return list(unique.values()), web_noise.corrupt(
    list(unique.values()), TITLES, "salt"
  )


def test_shares_are_those_that_are_stated(pairs):
  given, made = pairs
  assert sum(web_noise.SHARES.values()) == pytest.approx(1)
  counts = collections.Counter(pair.kind for pair in made)
  for kind, share in web_noise.SHARES.items():
    # Four standard errors of a share of so many.
    error = (share * (1 - share) / len(given)) ** 0.5
    assert abs(counts[kind] / len(given) - share) < 4 * error


def test_swapped_pairs_have_the_same_captions_as_before(pairs):
  given, made = pairs
  rows = [i for i, pair in enumerate(made) if pair.kind == "swapped"]
  names = {given[i].words for i in rows}
  right = 0
  for i in rows:
    said = [name for name in names if name in made[i].caption]
    assert said
    right += given[i].words in made[i].caption
  assert right < len(rows) / 20


def test_pictures_are_as_their_kind_says(pairs):
  given, made = pairs
  for icon, pair in zip(given, made, strict=True):
    if pair.kind == "tiny":
      assert max(pair.width, pair.height) == web_noise.TINY
    elif pair.kind == "stretched":
      assert pair.width == 4 * pair.height
    elif pair.kind == "head":
      assert 20 <= max(pair.width, pair.height) < web_noise.SIDE
    else:
      assert (pair.icon, pair.width) == (icon, web_noise.SIDE)
      assert pair.height == web_noise.SIDE * icon.height / icon.width
    if pair.kind == "boilerplate":
      assert pair.caption in web_noise.BOILERPLATE
    elif pair.kind in ("as_is", "tiny", "stretched", "head"):
      assert pair.icon.words in pair.caption


def test_corruption_does_not_depend_on_other_pairs_order(pairs):
  given, made = pairs
  again = web_noise.corrupt(given[::-1], TITLES, "salt")[::-1]
  assert [pair.kind for pair in made] == [pair.kind for pair in again]


def test_file_names_are_many():
  names = {web_noise.file_name(i / 28_000) for i in range(28_000)}
  assert len(names) > 27_000
