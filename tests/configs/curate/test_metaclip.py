"""Recipes of MetaCLIP: that they can be run, and their published numbers."""

import pytest

from configs.curate import metaclip
from curation import recipe


@pytest.fixture
def metadata(tmp_path, monkeypatch):
  """Make the metadata that the recipes name, in the working directory."""
  (tmp_path / "metadata").mkdir()
  for language in ("en", "ja"):
    (tmp_path / f"metadata/{language}.txt").write_text("a\n")
  monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("metadata")
@pytest.mark.parametrize(
  ("variant", "t", "t_language", "ends"),
  [
    # Numbers of arXiv 2309.16671 and of MetaCLIP 2's curate.py.
    ("400m", 20_000, "", "both"),
    ("2_5b", 170_000, "", "both"),
    ("tail", 0, "", "both"),
    ("worldwide", 170_000, "en", "by_script"),
    ("mini", 5, "en", "by_script"),
  ],
)
def test_variants_are_recipes(variant, t, t_language, ends):
  config = metaclip.get_config(variant)
  found = recipe.checked(config.to_dict()).steps
  assert (found["balance"].t, found["balance"].t_language) == (t, t_language)
  assert found["balance"].tail_mass == 0.06
  assert found["match"].ends == ends
  steps = [found["match"], found["balance"], found["balanced"]]
  assert len({step.metadata for step in steps}) == 1


def test_tail_is_the_default_and_others_are_refused():
  assert metaclip.get_config() == metaclip.get_config("tail")
  message = r"configs/curate/metaclip.py:VARIANT must be .*mini; got '1b'"
  with pytest.raises(ValueError, match=message):
    metaclip.get_config("1b")


def test_metadata_that_are_not_there_are_named(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = metaclip.get_config("400m").to_dict()
  with pytest.raises(ValueError, match="steps.match.metadata.*metadata/en.txt"):
    recipe.checked(config)
