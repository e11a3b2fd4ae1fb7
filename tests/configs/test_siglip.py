"""configs/siglip.py builds, and has the published number of parameters."""

import functools

import jax
import pytest

from configs import siglip
from models import dual_encoder
from training import config as config_lib
from training import optimizer, partitioning, step_program, train_state


def _config(variant):
  return config_lib.checked(siglip.get_config(variant).to_dict())


def test_b16_has_the_published_number_of_parameters():
  params = jax.eval_shape(
    functools.partial(dual_encoder.init_params, _config("b16").model),
    jax.random.key(0),
  )
  width, depth, mlp, vocab = 768, 12, 3072, 32_000
  attention = 4 * (width * width + width)
  block = attention + 2 * width * mlp + mlp + width + 4 * width
  patches = (224 // 16) ** 2
  # The pooling head: a query, attention, a norm and an MLP.
  head = width + block - 2 * width
  image = 3 * 16**2 * width + width + patches * width
  image += depth * block + 2 * width + head
  text = vocab * width + 64 * width + depth * block + 2 * width
  text += width * width + width
  assert train_state.count_params(params["img"]) == image
  assert train_state.count_params(params["txt"]) == text
  # Scale and bias are the last two. The published weights: 203.2 M.
  total = train_state.count_params(params)
  assert total == image + text + 2
  assert round(total / 1e6, 1) == 203.2


@pytest.mark.parametrize("variant", siglip.VARIANTS)
@pytest.mark.parametrize("fsdp", [1, 8])
def test_rules_cover_all_parameters(variant, fsdp):
  config = siglip.get_config(variant)
  config.mesh.fsdp = fsdp
  config = config_lib.checked(config.to_dict())
  program = step_program.make(config, partitioning.make_mesh(config.mesh))
  assert program.batch["images"].shape == (32_768, 224, 224, 3)
  split = [
    x
    for x in jax.tree.leaves(program.state.params)
    if not x.sharding.is_fully_replicated
  ]
  assert bool(split) == (fsdp > 1)


def test_decay_is_the_published_one():
  config = _config("b16").optimizer
  assert config.weight_decay_convention == "schedule"
  assert (config.learning_rate, config.weight_decay) == (1e-3, 1e-4)
  optimizer.OptimizerConfig.check(config, 1_220_703)


def test_unknown_variant():
  with pytest.raises(ValueError, match=r"one of b16; got 'b17'"):
    siglip.get_config("b17")
