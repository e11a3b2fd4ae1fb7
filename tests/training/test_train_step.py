"""One step: it learns, and does the same on every mesh."""

import dataclasses

import jax
import numpy as np
import pytest

from models import dual_encoder
from tests import runs
from training import (
  flops,
  partitioning,
  rules,
  train_state,
  train_step,
)


def _batch(config, seed=0):
  rng = np.random.default_rng(seed)
  size = config.data.image_size
  tokens = rng.integers(
    1, config.data.vocab_size, (config.batch_size, config.data.num_tokens)
  )
  return {
    "images": rng.integers(
      0, 256, (config.batch_size, size, size, 3), np.uint8
    ),
    "tokens": tokens.astype(np.int32),
  }


@dataclasses.dataclass(frozen=True)
class _Built:
  state: train_state.TrainState
  step: object
  mesh: jax.sharding.Mesh

  def run(self, config, num_steps):
    state, seen = self.state, []
    with jax.set_mesh(self.mesh):
      for step in range(num_steps):
        batch = partitioning.make_global(_batch(config, step % 2), self.mesh)
        state, metrics = self.step(state, batch)
        seen.append(jax.device_get(metrics))
    return state, seen


def _build(config, shape=(1, 1, 1)):
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(*shape), jax.devices()[: int(np.prod(shape))]
  )
  abstract, init_params, opt = runs.abstract_state(config, mesh)
  step = train_step.make_train_step(config, opt)
  sharding = partitioning.batch_sharding(mesh)
  batch = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    _batch(config),
  )
  with jax.set_mesh(mesh):
    state = train_state.init(init_params, opt, abstract, 0)
    compiled = train_step.compile_train_step(step, abstract, batch, mesh)
  return _Built(state, compiled, mesh)


def _arrays(tree):
  return {
    rules.path_string(path): np.asarray(x)
    for path, x in jax.tree.leaves_with_path(tree)
  }


# Where a gradient is 0 but for rounding (attention does not see a key's bias),
# Adam takes the rounding's sign; a large epsilon keeps it out.
_FAST = {
  "optimizer.warmup_steps": 1,
  "optimizer.learning_rate": 0.01,
  "optimizer.epsilon": 0.01,
}
# Of parameters of size 0.1 after 8 updates. Each is a rate of 0.01 times a
# gradient over 0.01, and gradients of size 1 differ by about ten roundings of
# 1e-7 where sums are taken in another order.
_ATOL = 2e-5


@pytest.fixture(scope="module")
def alone():
  config = runs.make_config(_FAST)
  return config, *_build(config).run(config, 8)


def test_the_loss_falls(alone):
  _, state, seen = alone
  losses = [float(metrics["train/loss"]) for metrics in seen]
  assert losses[-1] < 0.7 * losses[0]
  assert int(state.step) == 8


def test_metrics(alone):
  config, _, seen = alone
  assert seen[0]["train/learning_rate"] == 0  # of warmup's first step
  np.testing.assert_allclose(seen[1]["train/learning_rate"], 0.01, rtol=1e-6)
  np.testing.assert_allclose(
    seen[0]["train/scale"], config.model.scale_init, rtol=1e-6
  )
  assert seen[0]["train/bias"] == config.model.bias_init
  for metrics in seen:
    for name, value in metrics.items():
      assert value.dtype == np.float32, name
      assert value.shape == (), name


def test_sharded_equals_one_device(alone):
  config, expected_state, expected = alone
  built = _build(config, (2, 2, 2))
  before = jax.tree.map(lambda x: x.sharding, built.state)
  state, seen = built.run(config, 8)
  assert jax.tree.map(lambda x: x.sharding, state) == before
  for one, other in zip(seen, expected, strict=True):
    for name in one:
      # Sums over the batch and over contracted dimensions are split.
      np.testing.assert_allclose(
        one[name], other[name], rtol=2e-4, err_msg=name
      )
  got = _arrays(state.params)
  for name, x in _arrays(expected_state.params).items():
    np.testing.assert_allclose(got[name], x, atol=_ATOL, err_msg=name)


def test_scale_max():
  """An init above the limit is cut with the first update."""
  config = runs.make_config(_FAST | {"model.scale_max": 5.0})
  _, seen = _build(config).run(config, 3)
  scales = [float(metrics["train/scale"]) for metrics in seen]
  np.testing.assert_allclose(scales[0], 10.0, rtol=1e-6)
  assert max(scales[1:]) <= 5.0 * (1 + 1e-6)


def test_frozen_towers_cost_no_gradient():
  """As in locked-image tuning: no backward pass through the image tower."""
  frozen = ((r"img/.*", True), (r".*", False))
  config = runs.make_config(_FAST)
  locked = runs.make_config(_FAST | {"optimizer.freeze": frozen})

  def count(config):
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
    abstract, _, opt = runs.abstract_state(config, mesh)
    step = train_step.make_train_step(config, opt)
    with jax.set_mesh(mesh):
      return flops.count(step, abstract, _batch(config))

  def forward(config):
    embed_images, _ = dual_encoder.embed_fns(config.model)
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
    abstract, _, _ = runs.abstract_state(config, mesh)
    images = _batch(config)["images"]
    return flops.count(embed_images, abstract.params, images)

  saved = count(config) - count(locked)
  # The backward pass has two matmuls for each of the forward pass, all but
  # the first layer's gradient of the pixels.
  assert 1.5 * forward(config) < saved <= 2 * forward(config)

  built = _build(locked)
  before = _arrays(built.state.params)
  state, _ = built.run(locked, 2)
  after = _arrays(state.params)
  for name, x in before.items():
    same = np.array_equal(x, after[name])
    assert same == name.startswith("img/"), name
  for path, _ in jax.tree.leaves_with_path(state.opt_state):
    assert "/img/" not in rules.path_string(path)
