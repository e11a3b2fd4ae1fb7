"""Configs of PLIP's fine-tuned classifier."""

import pytest

from experiments.plip import classifier
from training import config as config_lib


@pytest.mark.parametrize("name", classifier.VARIANT_NAMES)
def test_a_variant(name):
  config = classifier.get_config(name)
  config.data.sources.main.path = "somewhere"
  config = config_lib.checked(config.to_dict())
  assert config.evaluate.sets["test"].head
  assert config.data.sources["main"].caption == ("label",)
  assert len(config.model.head.classes) == {"kather": 9, "parts": 6}[name]


def test_an_unknown_variant():
  with pytest.raises(ValueError, match=r"classifier.py:VARIANT must be one of"):
    classifier.get_config("mini")
