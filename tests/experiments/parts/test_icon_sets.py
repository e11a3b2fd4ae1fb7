import pathlib

import pytest

from experiments.parts import icon_sets
from tests.experiments.curation import package


def icon(name, **fields):
  fields = dict.fromkeys(("left", "top"), 0) | fields
  fields = dict.fromkeys(("width", "height"), 24) | fields
  return icon_sets.Icon("set", name, "<g/>", **fields)


def test_only_sets_that_may_be_used_are_opened(tmp_path):
  sets = {"good": ["home"], "copyleft": ["home"], "withdrawn": ["home"]}
  package.write(tmp_path / "package", sets)
  opened = icon_sets.open_package(tmp_path / "package")
  assert dict(opened.titles) == {"good": "Good"}
  assert dict(opened.licences) == {"good": "MIT"}
  assert opened.version == "1.2.3"


def test_icons_take_what_their_set_says_and_hidden_ones_are_left_out(tmp_path):
  package.write(tmp_path / "package", {"good": ["b", "a"]})
  opened = icon_sets.open_package(tmp_path / "package")
  found = list(opened.icons("good"))
  assert [icon.key for icon in found] == ["good:a", "good:b"]
  assert (found[0].left, found[0].width, found[0].height) == (0, 24, 24)


def test_a_missing_package_says_how_to_get_it():
  with pytest.raises(FileNotFoundError, match="npm pack @iconify/json"):
    icon_sets.open_package(pathlib.Path("nowhere"))


@pytest.mark.parametrize(
  ("name", "words", "is_plain"),
  [
    ("arrow-left_bold", "arrow left bold", False),
    ("arrow-left", "arrow left", True),
    ("home-24", "home 24", False),
    ("a-b-c-d", "a b c d", False),
    ("one-two-three-four-five", "one two three four five", False),
    ("fill", "fill", False),
  ],
)
def test_names_become_words(name, words, is_plain):
  assert icon(name).words == words
  assert icon(name).is_plain == is_plain


def test_draws_hang_on_their_names_alone_and_fill_the_unit_interval():
  numbers = [icon_sets.draw("salt", i) for i in range(2000)]
  assert numbers == [icon_sets.draw("salt", i) for i in range(2000)]
  assert min(numbers) >= 0
  assert max(numbers) < 1
  # Standard error of the mean of 2,000 uniform numbers: 0.0065.
  assert abs(sum(numbers) / 2000 - 0.5) < 0.026
