"""A decoder alone learns in every variant of configs/lit_decoder.py."""

import jax
import pytest

from configs import lit_decoder
from runtime import mesh as mesh_lib
from runtime import param_rules
from training import config as config_lib
from training import train_state, train_step


@pytest.mark.parametrize("name", lit_decoder.VARIANT_NAMES)
def test_the_decoder_alone_has_slots(name):
  values = lit_decoder.get_config(name)
  for source in values.data.sources.values():
    source.path = "regions"
  for section in values.evaluate.sets.values():
    section.source.path = "questions"
  config = config_lib.checked(values.to_dict())
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  state = train_step.make(config, mesh).state
  for path, x in jax.tree.leaves_with_path(state.opt_state):
    assert not x.shape or "/decoder/" in param_rules.path_string(path)
  moments = 2 * train_state.count_params(state.params["decoder"])
  slots = sum(x.size for x in jax.tree.leaves(state.opt_state) if x.shape)
  assert slots == moments
  if name != "mini":
    layers = state.params["decoder"]["blocks"]["attn_norm"]["scale"]
    assert layers.shape == (6, 768)


def test_a_variant_that_is_none():
  with pytest.raises(ValueError, match="must be one of refcoco_b16_256"):
    lit_decoder.get_config("b16")
