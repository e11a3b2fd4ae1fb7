"""The shapes that the step is compiled with are those that a run gives it."""

import jax
import numpy as np

from configs import siglip2
from runtime import mesh as mesh_lib
from tests import runs
from training import config as config_lib
from training import step_program, train_state


def test_shapes_and_shardings_are_those_of_a_run():
  config = runs.make_config({"mesh.fsdp": 2, "model.image.width": 16})
  mesh = mesh_lib.make_mesh(config.mesh)
  program = step_program.make(config, mesh)
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
  program = step_program.make(config, mesh)
  assert program.batch.images.patches_bNP.shape == (8, 20, 8 * 8 * 3)
  assert program.batch.images.shapes_b2.shape == (8, 2)
  with jax.set_mesh(mesh):
    state, metrics = jax.eval_shape(program.step, program.state, program.batch)
  assert metrics["train/loss"].shape == ()
  assert jax.tree.structure(state) == jax.tree.structure(program.state)
