"""A step learns from the rows that its definition draws, on any mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import joint_selection
from models import dual_encoder
from models.pretrained import loading
from runtime import mesh as mesh_lib
from tests import steps, tiny_curating
from training import config as config_lib
from training import flops, train_step
from training.curating import super_batch
from training.curating import teacher as teacher_lib
from training.objectives import pairs

NUM_STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "teacher"
  tiny_curating.write_teacher(folder)
  return folder


def _config(folder, **changes):
  values = tiny_curating.get_config()
  values.curating.teacher = str(folder)
  values.update_from_flattened_dict(steps.FAST | changes)
  return config_lib.checked(values.to_dict())


def _plain():
  """Return the config of a run that learns from all rows that it reads."""
  values = tiny_curating.get_config()
  values.curating.filter_ratio = 0.0
  values.update_from_flattened_dict(steps.FAST)
  return config_lib.checked(values.to_dict())


def _mesh(shape):
  devices = jax.devices()[: int(np.prod(shape))]
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(*shape), devices)


@functools.cache
def _alone(folder):
  """Return the state and the metrics of steps on one device."""
  config = _config(folder)
  return steps.build(config, teacher=_params(folder)).run(config, NUM_STEPS)


@functools.cache
def _params(folder):
  """Return the teacher's parameters as its files have them."""
  config, mesh = _config(folder), _mesh((1, 1, 1))
  return teacher_lib.read(config, mesh, folder, begun=False)


@functools.partial(jax.jit, static_argnums=0)
def _embeddings(model, params, rows):
  """Return the embeddings of all rows at once."""
  images_fn, texts_fn = dual_encoder.embed_fns(model)
  return joint_selection.Embeddings(
    images_fn(params, rows["images"]),
    texts_fn(params, rows["tokens"]),
    jnp.exp(params["log_scale"]),
    params["bias"],
  )


def _first_draw(folder, rows, params):
  """Return the rows of step 0 by the definition, and S_ii of all rows."""
  config = _config(folder)
  model = teacher_lib.find(config).model
  both = (
    _embeddings(config.model, params, rows),
    _embeddings(model, _params(folder), rows),
  )
  key = jax.random.fold_in(jax.random.key(config.seed), train_step._SELECTS)
  index = joint_selection.select(
    *both,
    jax.random.fold_in(key, 0),
    num_selected=config.batch_size,
    num_blocks=config.curating.num_blocks,
  )
  return np.asarray(index), np.asarray(joint_selection.of_pairs(*both))


def test_the_step_is_that_of_the_drawn_rows_alone(folder):
  """Loss and gradient norm are those of a plain run's step on these rows."""
  rows = steps.batch(_config(folder))
  _, seen = _alone(folder)
  plain = steps.build(_plain())
  index, own = _first_draw(folder, rows, plain.state.params)
  with jax.set_mesh(plain.mesh):
    drawn = {name: x[index] for name, x in rows.items()}
    _, want = plain.step(plain.state, steps.global_batch(drawn, plain.mesh))
  # Programs differ, so sums are taken in other orders.
  for name in ("train/loss", "train/grad_norm"):
    np.testing.assert_allclose(seen[0][name], want[name], rtol=1e-5)
  np.testing.assert_allclose(
    seen[0]["train/learnability"], own[index].mean(), rtol=1e-4
  )
  np.testing.assert_allclose(
    seen[0]["train/learnability_all"], own.mean(), rtol=1e-4
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("shape", "microbatches"),
  [((2, 2, 2), 1), ((2, 1, 1), 2)],
)
def test_meshes_and_micro_batches_change_nothing(folder, shape, microbatches):
  expected, other = _alone(folder)
  config = _config(folder, num_microbatches=microbatches)
  state, seen = steps.build(config, shape, _params(folder)).run(
    config, NUM_STEPS
  )
  for one, two in zip(seen, other, strict=True):
    for name in one:
      np.testing.assert_allclose(one[name], two[name], rtol=2e-4, err_msg=name)
  got = steps.arrays(state.params)
  for name, x in steps.arrays(expected.params).items():
    np.testing.assert_allclose(got[name], x, atol=steps.ATOL, err_msg=name)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (2, 2, 2), (4, 2, 1)])
def test_rows_are_exchanged_to_the_bit(shape, monkeypatch):
  """In one turn and in several, in the order of the indices."""
  rng = np.random.default_rng(0)
  batch = pairs.Batch(
    rng.integers(0, 256, (32, 2, 2, 3), np.uint8),
    rng.integers(-9, 9, (32, 5), np.int32),
  )
  index = np.sort(rng.permutation(32)[:16]).astype(np.int32)
  mesh = _mesh(shape)
  for most in (super_batch._MOST_SENT, 100):
    monkeypatch.setattr(super_batch, "_MOST_SENT", most)
    with jax.set_mesh(mesh):
      got = jax.jit(lambda *x: super_batch.rows_of(*x))(
        mesh_lib.make_global(batch, mesh), index
      )
    np.testing.assert_array_equal(got.images, batch.images[index])
    np.testing.assert_array_equal(got.tokens, batch.tokens[index])


@pytest.mark.parametrize(
  ("read", "rows", "shape", "parts"),
  [(64, 32, (1, 1, 1), 2), (64, 8, (2, 1, 1), 8), (48, 32, (1, 1, 1), 2),
   (6, 4, (2, 1, 1), 3)],
)  # fmt: skip
def test_a_part_has_at_most_the_rows_of_a_micro_batch(read, rows, shape, parts):
  with jax.set_mesh(_mesh(shape)):
    assert super_batch.num_parts(read, rows) == parts


def test_flops_are_those_of_the_step_of_both_embeddings_and_the_draws(folder):
  config, mesh = _config(folder), _mesh((1, 1, 1))
  models = (config.model, teacher_lib.find(config).model)
  rows = steps.batch(config)
  with jax.set_mesh(mesh):
    drawn, plain = (
      train_step.count_flops(train_step.make(x, mesh))
      for x in (config, _plain())
    )
    embedded = sum(
      flops.count(fn, params, rows[name])
      for model in models
      for params in (loading.shapes_of(model),)
      for fn, name in zip(
        dual_encoder.embed_fns(model), ("images", "tokens"), strict=True
      )
    )
  # In each block, the logits of all rows and the drawn ones, and vice versa.
  width = sum(model.embed_dim for model in models)
  logits = 2 * 2 * config.num_rows_read * config.batch_size * width
  assert drawn == plain + embedded + logits
