"""Digests: what changes them, and what does not."""

import dataclasses

import pytest

from configs import base
from experiments.recipes import digests, recipes
from tests import runs

SIGLIP = recipes.RECIPES["siglip_b16"]


def _lowered(**fields):
  return digests.lowered(runs.make_config(**fields), 4)


def test_program_is_what_the_compiler_gets():
  text = _lowered()
  assert text == _lowered()
  # A number of the run that is no part of the program.
  assert text == _lowered(**{"optimizer.learning_rate": 0.5, "seed": 3})
  assert text != _lowered(**{"loss.name": "softmax"})
  assert text != _lowered(**{"mesh.data": 2, "mesh.fsdp": 2})


def test_program_of_every_phase(monkeypatch):
  texts = []

  def lowered(config, num_devices):
    texts.append((config.data.image_size, num_devices))
    return str(config.data.image_size)

  monkeypatch.setattr(digests, "lowered", lowered)
  digests.programs(recipes.RECIPES["florence_coswin_h"])
  assert texts == [(224, 512), (224, 512), (384, 512)]


def test_config_and_slice():
  one = digests.config(SIGLIP)
  other = dataclasses.replace(SIGLIP, changes={"batch_size": 16_384})
  assert digests.config(other) != one
  assert digests.slices(other) == digests.slices(SIGLIP)
  larger = dataclasses.replace(SIGLIP, topology="v4:4x4x4")
  assert digests.config(larger) == one
  assert digests.slices(larger) != digests.slices(SIGLIP)


@pytest.mark.parametrize("name", ["batch_sizes", "meshes.data", "mesh.datas"])
def test_changes_name_fields(name):
  wrong = dataclasses.replace(SIGLIP, changes={name: 1})
  with pytest.raises(ValueError, match=f"siglip_b16: .*b16; got {name}"):
    digests.config(wrong)


def test_a_new_field_with_its_default_changes_no_digest(monkeypatch):
  before = digests.config(SIGLIP)
  get_config = base.get_config

  def with_field():
    config = get_config()
    config.new_field = 1
    return config

  monkeypatch.setattr(base, "get_config", with_field)
  assert digests.config(SIGLIP) == before


def test_prose_is_no_code():
  bare = "def f(x):\n  return x + 1\n"
  prose = (
    '"""Module."""\n\n# Why.\ndef f(x):\n  """Of\n  x."""\n  return x + 1\n'
  )
  assert digests._code_of(prose) == digests._code_of(bare)
  assert digests._code_of(bare.replace("1", "2")) != digests._code_of(bare)
