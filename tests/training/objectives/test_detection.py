"""Detection's objective: one step's gradient, frozen towers, checks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import batch_norm
from runtime import mesh as mesh_lib
from tests import tiny_boxes
from training import config as config_lib
from training.objectives import detection, gradients

RNG = np.random.default_rng(0)
BATCH = detection.batch_of(
  {
    "images": RNG.integers(0, 256, (4, 64, 64, 3), np.uint8),
    "boxes": np.float32(
      [[[8, 8, 40, 40], [20, 30, 60, 62]] + [[0] * 4] * 2]
    ).repeat(4, axis=0),
    "labels": np.zeros((4, 4), np.int32),
    "mask": np.tile([True, True, False, False], (4, 1)),
  }
)


def _config(**fields):
  values = tiny_boxes.get_config()
  values.detection.path = "set"
  values.update(fields)
  return config_lib.checked(values.to_dict())


def _mesh(config):
  return mesh_lib.make_mesh(config.mesh, jax.devices()[:1])


def _gradient(config, params, stats):
  with jax.set_mesh(_mesh(config)):
    objective = detection.make(config)
    return jax.jit(gradients.make(config, objective))(params, stats, BATCH)


@pytest.fixture(scope="module")
def variables():
  config = _config()
  with jax.set_mesh(_mesh(config)):
    init_params = detection.make(config).init_params
    return batch_norm.split(jax.jit(init_params)(jax.random.key(0)))


@pytest.mark.slow
def test_the_tower_learns_unless_it_is_held(variables):
  """The whole-batch gradient, and that of a frozen tower's detector."""
  config = _config()
  held = dataclasses.replace(
    config,
    optimizer=dataclasses.replace(
      config.optimizer, freeze=((r"img/.*", True), (r".*", False))
    ),
  )
  (loss, stats), grads = _gradient(config, *variables)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  assert jnp.any(grads["img"]["stem"]["conv1"]["kernel"])
  assert not jnp.any(grads["img"]["attn"]["query"]["kernel"])
  assert stats["img"]["stem"]["norm1"].keys() == {*batch_norm.NAMES}
  (_, stats), grads = _gradient(held, *variables)
  assert not any(jnp.any(g) for g in jax.tree.leaves(grads["img"]))
  assert jnp.any(grads["detector"]["pyramid"]["p7"]["kernel"])
  assert not stats


def test_unused_parameters_must_be_held():
  config = _config()
  free = dataclasses.replace(config.optimizer, freeze=((r".*", False),))
  config = dataclasses.replace(config, optimizer=free)
  with (
    jax.set_mesh(_mesh(config)),
    pytest.raises(ValueError, match="must hold the parameters .* position"),
  ):
    detection.make(config)


@pytest.mark.long
def test_two_devices_and_micro_batches_change_nothing(variables):
  """Losses are divided by the positives of all rows, in whatever parts."""
  held = dataclasses.replace(
    _config().optimizer, freeze=((r"img/.*", True), (r".*", False))
  )
  config = dataclasses.replace(_config(), optimizer=held)
  (want, _), want_grads = _gradient(config, *variables)
  split = dataclasses.replace(config, num_microbatches=2)
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:2])):
    objective = detection.make(split)
    (got, _), grads = jax.jit(gradients.make(split, objective))(
      *variables, BATCH
    )
  # float32; sums over 341 positions in another order.
  np.testing.assert_allclose(got, want, rtol=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5),
    grads["detector"],
    want_grads["detector"],
  )
