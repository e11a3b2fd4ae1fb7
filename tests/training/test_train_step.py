"""One step: it learns, and does the same on every mesh."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import siglip2
from models import dual_encoder
from runtime import mesh as mesh_lib
from runtime import param_rules
from tests import runs, steps
from training import config as config_lib
from training import flops, train_state, train_step

# The fixture that its tests share takes 10 s.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone():
  config = runs.make_config(steps.FAST)
  return config, *steps.build(config).run(config, 8)


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
  built = steps.build(config, (2, 2, 2))
  before = jax.tree.map(lambda x: x.sharding, built.state)
  state, seen = built.run(config, 8)
  assert jax.tree.map(lambda x: x.sharding, state) == before
  for one, other in zip(seen, expected, strict=True):
    for name in one:
      # Sums over the batch and over contracted dimensions are split.
      np.testing.assert_allclose(
        one[name], other[name], rtol=2e-4, err_msg=name
      )
  got = steps.arrays(state.params)
  for name, x in steps.arrays(expected_state.params).items():
    np.testing.assert_allclose(got[name], x, atol=steps.ATOL, err_msg=name)


def test_scale_max():
  """An init above the limit is cut with the first update."""
  config = runs.make_config(steps.FAST | {"model.scale_max": 5.0})
  _, seen = steps.build(config).run(config, 3)
  scales = [float(metrics["train/scale"]) for metrics in seen]
  np.testing.assert_allclose(scales[0], 10.0, rtol=1e-6)
  assert max(scales[1:]) <= 5.0 * (1 + 1e-6)


def test_runs_of_a_sweep_share_their_program():
  """Learning rate, weight decay and seed are arguments, not constants."""
  changed = {
    "optimizer.learning_rate": 0.02,
    "optimizer.weight_decay": 0.0,
    "seed": 7,
  }

  def lowered(changes):
    config = runs.make_config(
      steps.FAST | {"model.image.dropout": 0.1} | changes
    )
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    with jax.set_mesh(mesh):
      program = train_step.make(config, mesh)
      return train_step.lower_step(program, mesh).as_text()

  assert lowered(changed) == lowered({})
  assert lowered({"optimizer.b2": 0.5}) != lowered({})


def test_numbers_of_the_config_reach_the_step():
  """One compiled step does what each config's own would."""
  base = steps.FAST | {"model.image.dropout": 0.1}
  reference = steps.build(runs.make_config(base))
  losses = []
  for changes in (
    {},
    {"optimizer.learning_rate": 0.02},
    {"optimizer.weight_decay": 0.5},
    {"seed": 7},
  ):
    config = runs.make_config(base | changes)
    program = train_step.make(config, reference.mesh)
    with jax.set_mesh(reference.mesh):
      built = dataclasses.replace(
        reference,
        state=jax.tree.map(lambda x: x.copy(), reference.state),
        step=train_step.with_numbers(
          reference.compiled, program, reference.mesh
        ),
      )
    _, seen = built.run(config, 4)
    losses.append(float(seen[-1]["train/loss"]))
  assert len(set(losses)) == 4, losses


def test_frozen_towers_cost_no_gradient():
  """As in locked-image tuning: no backward pass through the image tower."""
  frozen = ((r"img/.*", True), (r".*", False))
  config = runs.make_config(steps.FAST)
  locked = runs.make_config(steps.FAST | {"optimizer.freeze": frozen})

  def count(config):
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    program = train_step.make(config, mesh)
    with jax.set_mesh(mesh):
      return flops.count(program.step, program.state, program.batch)

  def forward(config):
    embed_images, _ = dual_encoder.embed_fns(config.model)
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    abstract, _, _ = runs.abstract_state(config, mesh)
    images = steps.batch(config)["images"]
    return flops.count(embed_images, abstract.params, images)

  saved = count(config) - count(locked)
  # The backward pass has two matmuls for each of the forward pass, all but
  # the first layer's gradient of the pixels.
  assert 1.5 * forward(config) < saved <= 2 * forward(config)

  built = steps.build(locked)
  before = steps.arrays(built.state.params)
  state, _ = built.run(locked, 2)
  after = steps.arrays(state.params)
  for name, x in before.items():
    same = np.array_equal(x, after[name])
    assert same == name.startswith("img/"), name
  for path, _ in jax.tree.leaves_with_path(state.opt_state):
    assert "/img/" not in param_rules.path_string(path)


def test_shapes_and_shardings_are_those_of_a_run():
  config = runs.make_config({"mesh.fsdp": 2, "model.image.width": 16})
  mesh = mesh_lib.make_mesh(config.mesh)
  program = train_step.make(config, mesh)
  batch = mesh_lib.make_global(
    jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.batch), mesh
  )
  for x, like in zip(
    *map(jax.tree.leaves, (batch, program.batch)), strict=True
  ):
    assert x.sharding == like.sharding
  assert program.batch.images.shape == (16, 16, 16, 3)
  assert program.batch.tokens.shape == (16, 8)
  assert program.batch.labels is program.batch.keys is None
  state = train_state.init(
    program.init_params, program.optimizer, program.state, config.seed
  )
  same = jax.tree.map(
    lambda x, like: (
      (x.shape, x.dtype, x.sharding) == (like.shape, like.dtype, like.sharding)
    ),
    state,
    program.state,
  )
  assert all(jax.tree.leaves(same))


def test_the_step_takes_patches():
  """Images in their own shapes: what data.augmentation makes of them."""
  config = siglip2.get_config("mini")
  config.batch_size = 8
  config.mesh.data = 2
  config.mesh.fsdp = 4
  config = config_lib.checked(config.to_dict())
  mesh = mesh_lib.make_mesh(config.mesh)
  program = train_step.make(config, mesh)
  assert program.batch.images.patches_bNP.shape == (8, 20, 8 * 8 * 3)
  assert program.batch.images.shapes_b2.shape == (8, 2)
  with jax.set_mesh(mesh):
    state, metrics = jax.eval_shape(program.step, program.state, program.batch)
  assert metrics["train/loss"].shape == ()
  assert jax.tree.structure(state) == jax.tree.structure(program.state)
