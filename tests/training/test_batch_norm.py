"""Training steps of image towers that normalise over the batch."""

import dataclasses

import jax
import numpy as np
import pytest

from configs.parts import towers
from models import batch_norm, dual_encoder
from runtime import mesh as mesh_lib
from tests import steps, tiny
from training import config as config_lib
from training import optimizer, train_state, train_step

# float32 statistics and gradients whose sums are taken in another order; see
# steps.ATOL. The epsilon below keeps a normalisation by few values from making
# more of them.
ATOL = steps.ATOL
STEPS = 3  # the first has a rate of 0


def make_config(kind="efficientnet", **changes):
  config = tiny.get_config()
  config.data.image_size = 32 if kind == "resnet" else 16
  image = getattr(towers, kind)(config.data)
  if kind == "resnet":
    image.width, image.depths, image.num_heads = 2, (1, 2, 1, 1), 2
  else:
    image.stages = ((1, 3, 1, 1, 8), (2, 3, 2, 2, 8))
    image.stem_width, image.head_width, image.drop_path = 8, 0, 0.5
  image.batch_norm_group = 4
  image.norm_epsilon = 0.1
  config.model.image = image
  config.partition_rules = ((r".*", ()),)
  if kind == "resnet":
    rules = (*towers.CONV_PARTITION_RULES, *config.partition_rules)
    config.partition_rules = rules
  config.update_from_flattened_dict({**steps.FAST, **changes})
  return config_lib.checked(config.to_dict())


@pytest.fixture(scope="module")
def one_device():
  """Return parameters by path before and after, and metrics."""
  config = make_config()
  built = steps.build(config)
  before = steps.arrays(built.state.variables)
  state, metrics = built.run(config, STEPS)
  return before, steps.arrays(state.variables), metrics


def assert_equal(config, shape, one_device):
  _, expected, expected_metrics = one_device
  state, metrics = steps.build(config, shape).run(config, STEPS)
  got = steps.arrays(state.variables)
  assert got.keys() == expected.keys()
  for path, array in expected.items():
    np.testing.assert_allclose(got[path], array, atol=ATOL, err_msg=path)
  for a, b in zip(metrics, expected_metrics, strict=True):
    np.testing.assert_allclose(a["train/loss"], b["train/loss"], atol=ATOL)


@pytest.mark.slow
def test_statistics_move_with_the_batch(one_device):
  before, after, _ = one_device
  statistics = [path for path in before if "running" in path]
  assert len(statistics) == 2 * 9  # norms
  for path in statistics:
    assert np.all(np.isfinite(after[path])), path
    assert np.any(after[path] != before[path]), path
  # 0.99 of each value is kept, and of the mean's 0 nothing.
  kept = after["img/stem/norm/running_var"] - 0.99**STEPS
  assert np.all(kept > 0)
  assert np.all(np.abs(after["img/stem/norm/running_mean"]) < 0.1)


@pytest.mark.slow
def test_two_devices_equal_one(one_device):
  assert_equal(make_config(), (2, 1, 1), one_device)


@pytest.mark.slow
def test_micro_batches_equal_the_whole_batch(one_device):
  config = make_config(num_microbatches=2, **{"model.remat": "block"})
  assert_equal(config, (1, 1, 1), one_device)


@pytest.mark.slow
def test_a_resnet_trains_on_two_devices():
  config = make_config("resnet")
  built = steps.build(config, (1, 2, 1))
  before = steps.arrays(built.state.variables)
  state, metrics = built.run(config, STEPS)
  after = steps.arrays(state.variables)
  assert all(np.isfinite(x).all() for x in after.values())
  assert all(np.isfinite(m["train/loss"]) for m in metrics)
  # Not those behind a residual branch that begins as nothing.
  unchanged = {path for path in after if np.all(after[path] == before[path])}
  assert not any(path.startswith("img/stem") for path in unchanged)
  assert not any("running" in path for path in unchanged)


@pytest.mark.slow
def test_a_locked_tower_keeps_its_statistics():
  config = make_config(
    **{"optimizer.freeze": ((r"img/.*", True), (r".*", False))}
  )
  built = steps.build(config)
  before = steps.arrays(built.state.variables)
  state, _ = built.run(config, 2)
  after = steps.arrays(state.variables)
  for path, array in before.items():
    if path.startswith("img/"):
      np.testing.assert_array_equal(after[path], array, err_msg=path)
  assert np.any(after["txt/token_embedding"] != before["txt/token_embedding"])


def test_statistics_are_locked_together():
  config = make_config(
    **{"optimizer.freeze": ((r"img/stem/.*", True), (r".*", False))}
  )
  with pytest.raises(ValueError, match="must hold all running statistics"):
    optimizer.locks_statistics(config.optimizer, abstract_params(config))


def abstract_params(config):
  return jax.eval_shape(
    lambda key: dual_encoder.init_params(config.model, key), jax.random.key(0)
  )


def test_statistics_have_no_optimizer_state_and_are_no_parameters():
  config = make_config()
  params = abstract_params(config)
  opt = optimizer.make_optimizer(config.optimizer, params, 10)
  state = steps.arrays(
    jax.tree.map(
      lambda x: np.zeros(x.shape, np.int8),
      jax.eval_shape(opt.init, batch_norm.split(params)[0]),
    )
  )
  assert any("img/stem/norm/scale" in path for path in state)
  assert not any("running" in path for path in state)
  total = sum(x.size for x in jax.tree.leaves(params))
  sizes = {
    path: x.size
    for path, x in steps.arrays(
      jax.tree.map(lambda x: np.zeros(x.shape, np.int8), params)
    ).items()
  }
  running = sum(n for path, n in sizes.items() if "running" in path)
  assert train_state.count_params(params) == total - running > 0


@pytest.mark.parametrize(
  ("changes", "shape", "rows"),
  [
    ({"model.image.batch_norm_group": 16}, (2, 1, 1), 8),
    ({"model.image.batch_norm_group": 3}, (1, 1, 1), 16),
    ({"num_microbatches": 8}, (1, 1, 1), 2),
  ],
)
def test_a_group_must_fit_into_what_a_device_embeds(changes, shape, rows):
  config = make_config(**changes)
  mesh = mesh_lib.make_mesh(
    mesh_lib.MeshConfig(*shape), jax.devices()[: shape[0]]
  )
  with pytest.raises(ValueError, match=rf"batch_norm_group.*got {rows}"):
    train_step.check(config, mesh)


def test_a_group_may_be_the_whole_batch():
  config = make_config(**{"model.image.batch_norm_group": 0})
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 1, 1), jax.devices()[:2])
  train_step.check(dataclasses.replace(config, num_microbatches=4), mesh)
