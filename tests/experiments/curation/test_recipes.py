import pytest

from curation import recipe
from experiments.curation import align, config, dfn, metaclip
from training import config as config_lib


@pytest.mark.parametrize("variant", ["arm", "filter"])
def test_the_encoder_is_one_that_can_be_trained(variant):
  config_lib.checked(config.get_config(variant).to_dict())


def test_an_unknown_encoder_is_an_error():
  with pytest.raises(ValueError, match="must be one of"):
    config.get_config("arms")


def test_recipes_are_of_the_papers_steps(tmp_path):
  made = {}
  for module in (align, dfn, metaclip):
    values = module.get_config()
    for name in values.order:
      if "metadata" in values.steps[name]:
        (tmp_path / "en.txt").write_text("home\n")
        values.steps[name].metadata = str(tmp_path / "en.txt")
      if "model" in values.steps[name]:
        values.steps[name].model = str(tmp_path)
    made[module] = recipe.checked(values.to_dict()).steps
  # Values that the recipes claim to leave as in the papers.
  assert made[align]["text_fanout"].max_images == 10
  assert made[align]["word_count"].max_words == 20
  assert made[metaclip]["balance"].tail_mass == 0.06
  assert list(made[metaclip]) == ["match", "balance", "balanced"]
  assert made[dfn]["top"].fraction == 0.25
