"""A step learns from the rows that its definition draws, on any mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import joint_selection
from models import dual_encoder
from models.pretrained import mapping
from runtime import mesh as mesh_lib
from tests import steps, tiny_curating
from training import config as config_lib
from training import train_step
from training.curating import super_batch
from training.objectives import pairs

NUM_STEPS = 3


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "teacher"
  config, params = tiny_curating.write_teacher(folder)
  return folder, config.model, mapping.nested(params)


def _config(folder, **changes):
  values = tiny_curating.get_config()
  values.curating.teacher = str(folder)
  values.update_from_flattened_dict(steps.FAST | changes)
  return config_lib.checked(values.to_dict())


def _mesh(shape):
  devices = jax.devices()[: int(np.prod(shape))]
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(*shape), devices)


@functools.cache
def _alone(folder):
  """Return the state and the metrics of steps on one device."""
  config = _config(folder)
  params = mapping.nested(_params(folder))
  return steps.build(config, teacher=params).run(config, NUM_STEPS)


def _params(folder):
  """Return the teacher's parameters as its files have them."""
  from training.curating import teacher as teacher_lib

  config = _config(folder)
  source = teacher_lib.find(config)
  targets = teacher_lib.sections.flat(
    teacher_lib.abstract(source, config, _mesh((1, 1, 1))), "/"
  )
  return {
    path: np.asarray(x)
    for path, x in teacher_lib._read(source, targets, _mesh((1, 1, 1))).items()
  }


def _embeddings(model, params, rows):
  """Return the embeddings of all rows at once."""
  images_fn, texts_fn = dual_encoder.embed_fns(model)
  return joint_selection.Embeddings(
    images_fn(params, rows["images"]),
    texts_fn(params, rows["tokens"]),
    jnp.exp(params["log_scale"]),
    params["bias"],
  )


@functools.cache
def _first_draw(folder):
  """Return the rows of step 0 by the definition, and S_ii of all rows."""
  config = _config(folder)
  expert = mapping.nested(_params(folder))
  model = tiny_curating.get_config("teacher")
  model = config_lib.checked(model.to_dict()).model
  rows = steps.batch(config)
  params = dual_encoder.init_params(config.model, jax.random.key(0))
  both = (
    _embeddings(config.model, params, rows),
    _embeddings(model, expert, rows),
  )
  key = jax.random.fold_in(jax.random.key(config.seed), train_step._SELECTS)
  index = joint_selection.select(
    *both,
    jax.random.fold_in(key, 0),
    num_selected=config.batch_size,
    num_blocks=config.curating.num_blocks,
  )
  return np.asarray(index), np.asarray(joint_selection.of_pairs(*both)), rows


def test_the_step_is_that_of_the_drawn_rows_alone(teacher):
  """Loss and gradient norm are those of a plain run's step on these rows."""
  folder, _, _ = teacher
  index, own, rows = _first_draw(folder)
  _, seen = _alone(folder)
  values = tiny_curating.get_config()
  values.curating.filter_ratio = 0.0
  values.update_from_flattened_dict(steps.FAST)
  plain = steps.build(config_lib.checked(values.to_dict()))
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
  [((2, 1, 1), 1), ((2, 2, 2), 1), ((1, 1, 1), 2)],
)
def test_meshes_and_micro_batches_change_nothing(teacher, shape, microbatches):
  folder, _, params = teacher
  expected, other = _alone(folder)
  config = _config(folder, num_microbatches=microbatches)
  state, seen = steps.build(config, shape, params).run(config, NUM_STEPS)
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
