"""Recipes that cannot be run: all that is wrong is said at once."""

import pytest

from configs.curate import align
from curation import recipe


def test_all_problems_of_a_recipe_at_once():
  values = align.get_config("mini").to_dict()
  values["max_attempts"] = 0
  values["pool"]["path"] = 3
  values["order"] = ("image_size", "nope", "word_count")
  values["steps"]["image_size"]["min_side"] = -1
  values["steps"]["word_count"]["op"] = "words"
  with pytest.raises(ValueError, match="problems:") as raised:
    recipe.checked(values)
  first, *lines = str(raised.value).splitlines()
  assert first == "5 problems:"
  for line, words in zip(
    lines,
    (
      "pool.path must be of type str; got 3",
      "order names 'nope'",
      "steps.word_count.op must be one of",
      "max_attempts must be at least 1; got 0",
      "steps.image_size.min_side must be at least 0; got -1",
    ),
    strict=True,
  ):
    assert line.startswith(f"  {words}")


def test_the_pool_is_checked_with_the_steps():
  values = align.get_config("mini").to_dict()
  values["pool"] |= {"format": "tar", "path": "/nothing/here/*.tar"}
  values["steps"]["word_count"] |= {"min_words": 9, "words": "letters"}
  with pytest.raises(ValueError, match="^4 problems:") as raised:
    recipe.checked(values, recipe.check_paths)
  said = str(raised.value)
  assert "pool.format must be one of" in said
  assert "pool.path matches no file: /nothing/here/*.tar" in said
  assert "steps.word_count.max_words must be 0" in said
  assert "steps.word_count.words must be one of" in said
