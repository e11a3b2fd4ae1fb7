"""Configs of domains build, and have the size of the model they begin with."""

import functools
import importlib

import jax
import pytest

from configs import (
  bioclip,
  clip,
  clip_rsicd,
  fashionclip,
  plip,
  pubmedclip,
  quickstart,
  streetclip,
)
from input_pipeline.sources import public_layout
from models import dual_encoder
from runtime import param_rules
from training import config as config_lib
from training import train_state

_VIT_B16 = 149_620_737
_VIT_B32 = 151_277_313
# Module, and parameters of its variants' published models: scale counted, bias
# not.
_DOMAINS = (
  (bioclip, lambda name: _VIT_B16),
  (clip_rsicd, lambda name: _VIT_B32),
  (fashionclip, lambda name: _VIT_B32),
  (plip, lambda name: _VIT_B32),
  (pubmedclip, lambda name: clip.VARIANTS[name].num_parameters),
  (streetclip, lambda name: clip.VARIANTS["vit_l14_336"].num_parameters),
)
_ALL = [
  pytest.param(
    *(module, name, number(name)), id=f"{module.__name__[8:]}-{name}"
  )
  for module, number in _DOMAINS
  for name in module.VARIANT_NAMES
]


@pytest.mark.parametrize(("module", "name", "number"), _ALL)
def test_a_variant(module, name, number):
  config = module.get_config(name)
  config.data.sources.main.path = "somewhere"
  if config.data.sources.main.format != "layout":
    next(iter(config.evaluate.sets.values())).source.path = "somewhere"
  # One flag names the folder of all.
  for section in config.evaluate.sets.values():
    assert section.source.path == "somewhere"
  params, config = _built(config)
  # Positions of the text are fewer where captions are short.
  cut = (77 - config.data.num_tokens) * config.model.text.width
  assert train_state.count_params(params) - 1 + cut == number


@pytest.mark.parametrize(
  "name", ["bioclip", "clip_rsicd", "fashionclip", "plip", "streetclip"]
)
def test_a_miniature(name):
  module = importlib.import_module(f"experiments.{name}.config")
  _, config = _built(module.get_config())
  # It is the quickstart's model, with as many positions as its texts have.
  base = quickstart.get_config()
  base.data.num_tokens = config.data.num_tokens
  assert config.model == config_lib.checked(base.to_dict()).model


def _built(config):
  """Return shapes of parameters, which all rules cover, and the config."""
  sections = [config.data.sources.main]
  sets = config.evaluate.sets.values()
  sections += [section.source for section in sets if "source" in section]
  for section in sections:
    if section.format == "layout":
      assert section.layout in public_layout.names()
  config = config_lib.checked(config.to_dict())
  params = jax.eval_shape(
    functools.partial(dual_encoder.init_params, config.model),
    jax.random.key(0),
  )
  for field, rules in (
    ("partition_rules", config.partition_rules),
    ("weight_decay_mults", config.optimizer.weight_decay_mults),
  ):
    param_rules.apply(rules, params, field)
  return params, config


@pytest.mark.parametrize("module", [module for module, _ in _DOMAINS])
def test_an_unknown_variant(module):
  with pytest.raises(ValueError, match=r"configs/\w+\.py:VARIANT must be one"):
    module.get_config("b17")
