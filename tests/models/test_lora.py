"""Low-rank updates: their start, their sum with the kernels, their training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dual_encoder, lora
from runtime import param_rules
from tests import runs, steps
from training import train_state

MAPS = (r"(img|txt)/blocks/.*", r"img/projection")
UPDATES = {
  "model.lora.rank": 2,
  "model.lora.alpha": 6.0,
  "model.lora.maps": MAPS,
  "optimizer.freeze": ((r".*/lora_[ab]", False), (r".*", True)),
}


def _leaves(tree):
  return {
    param_rules.path_string(path): x
    for path, x in jax.tree.leaves_with_path(tree)
  }


def _embed(config, params):
  rows = steps.batch(runs.make_config())
  images_fn, texts_fn = dual_encoder.embed_fns(config)
  return images_fn(params, rows["images"]), texts_fn(params, rows["tokens"])


@pytest.mark.slow
def test_start_is_the_base_and_merging_is_the_sum():
  base = runs.make_config().model
  config = runs.make_config(UPDATES).model
  params = dual_encoder.init_params(config, jax.random.key(0))
  updates = {
    path: x for path, x in _leaves(params).items() if lora.is_update(path)
  }
  # Four maps of attention and two of the MLP in each tower, and a projection.
  assert len(updates) == 2 * (6 + 6 + 1)
  assert updates["img/blocks/mlp/up/lora_a"].shape == (2, 16, 2)
  assert updates["img/blocks/mlp/up/lora_b"].shape == (2, 2, 32)
  down = updates["img/blocks/mlp/down/lora_a"]
  assert 0.9 * 32**-0.5 < jnp.abs(down).max() <= 32**-0.5
  start = lora.merged(params, config.lora)
  for one, other in zip(
    _embed(config, params), _embed(base, start), strict=True
  ):
    np.testing.assert_array_equal(one, other)
  # Any B: x W + scale x A B is x (W + scale A B), up to float32's rounding.
  params = jax.tree.map_with_path(
    lambda path, x: (
      jax.random.normal(jax.random.key(len(path)), x.shape)
      if param_rules.path_string(path).endswith("lora_b")
      else x
    ),
    params,
  )
  whole = lora.merged(params, config.lora)
  assert set(_leaves(whole)) == set(_leaves(start))
  kernel = params["img"]["projection"]
  np.testing.assert_allclose(
    whole["img"]["projection"]["kernel"],
    kernel["kernel"] + 3.0 * kernel["lora_a"] @ kernel["lora_b"],
    rtol=1e-5,
    atol=1e-6,
  )
  for one, other, before in zip(
    _embed(config, params),
    _embed(base, whole),
    _embed(base, start),
    strict=True,
  ):
    np.testing.assert_allclose(one, other, atol=2e-5)
    assert np.abs(np.asarray(one) - before).max() > 1e-2


@pytest.mark.slow
def test_updates_alone_are_trained():
  config = runs.make_config(UPDATES)
  built = steps.build(config)
  before = jax.device_get(built.state.params)
  state, _ = built.run(config, 3)
  for path, x in _leaves(jax.device_get(state.params)).items():
    same = np.array_equal(x, _leaves(before)[path])
    assert same != lora.is_update(path), path
  # Two moments of the updates, and counts.
  sizes = [x.size for x in jax.tree.leaves(state.opt_state)]
  num_updates = sum(
    x.size for path, x in _leaves(before).items() if lora.is_update(path)
  )
  assert 2 * num_updates <= sum(sizes) <= 2 * num_updates + 10
  assert train_state.count_params(before) > 2 * num_updates


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model.lora.maps": ()}, "model.lora.maps must name maps"),
    ({"model.lora.alpha": 0.0}, "model.lora.alpha must be above 0"),
    ({"model.lora.rank": -1}, "model.lora.rank must be at least 0"),
  ],
)
def test_wrong_fields(changes, message):
  with pytest.raises(ValueError, match=message):
    runs.make_config(UPDATES | changes)


def test_a_map_that_is_not_there():
  config = runs.make_config(
    UPDATES | {"model.lora.maps": ("img/blocks/atn/.*",)}
  ).model
  with pytest.raises(ValueError, match=r"'img/blocks/atn/\.\*' matches no"):
    dual_encoder.make_graph(config)
