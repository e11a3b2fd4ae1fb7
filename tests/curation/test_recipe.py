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
