"""Every section of parts/towers.py makes a config that can be trained."""

import functools

import jax
import pytest

from configs import base
from configs.parts import towers
from models import dual_encoder
from runtime import param_rules
from training import config as config_lib


@pytest.mark.parametrize(
  ("section", "tower"), [("image", "naflex"), ("text", "bert")]
)
def test_sections(section, tower):
  config = base.get_config()
  config.model[section] = getattr(towers, tower)(config.data)
  config = config_lib.checked(config.to_dict())
  assert getattr(config.model, section).tower == tower
  assert config.model.image.image_size == config.data.image_size
  params = jax.eval_shape(
    functools.partial(dual_encoder.init_params, config.model),
    jax.random.key(0),
  )
  for field, value in (
    ("partition_rules", config.partition_rules),
    ("weight_decay_mults", config.optimizer.weight_decay_mults),
  ):
    param_rules.apply(value, params, field)  # covers all, uses all
