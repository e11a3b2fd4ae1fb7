"""Joint selection draws the rows that its definition draws, on any mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import joint_selection
from tests.losses import pairs

SIZE, SELECTED, BLOCKS = 16, 8, 4


def _model(seed, dim=24, scale=pairs.SCALE):
  zimg, ztxt = pairs.embeddings(seed, SIZE, dim)
  return joint_selection.Embeddings(
    zimg, ztxt, jnp.float32(scale), jnp.float32(pairs.BIAS)
  )


LEARNER, TEACHER = _model(0), _model(1, dim=32, scale=20.0)
select = functools.partial(
  joint_selection.select, num_selected=SELECTED, num_blocks=BLOCKS
)


def _matrix(model):
  """Return the losses of all images and texts, [B, B]."""
  logits = model.scale * (model.zimg_BE @ model.ztxt_BE.T) + model.bias
  sign = 2 * np.eye(SIZE) - 1
  return np.asarray(-jax.nn.log_sigmoid(sign * logits), np.float64)


def _written_out(learner, teacher, key):
  """Return the rows, drawn with the whole matrix of learnability."""
  s = _matrix(learner) - _matrix(teacher)
  drawn: list[int] = []
  for block in jax.random.split(key, BLOCKS):
    score = s.diagonal().copy()
    for i in range(SIZE):
      score[i] += sum(s[i, j] + s[j, i] for j in drawn)
    noisy = score + np.asarray(jax.random.gumbel(block, (SIZE,)))
    noisy[drawn] = -np.inf
    drawn += np.argsort(-noisy)[: SELECTED // BLOCKS].tolist()
  return sorted(drawn)


@pytest.mark.parametrize("seed", range(5))
def test_selection_equals_its_definition(seed):
  key = jax.random.key(seed)
  got = jax.jit(select)(LEARNER, TEACHER, key)
  assert got.dtype == np.int32
  assert got.tolist() == _written_out(LEARNER, TEACHER, key)


@pytest.mark.parametrize("shape", [(2, 1, 1), (4, 2, 1), (2, 2, 2)])
def test_meshes_draw_the_same_rows(shape):
  mesh = pairs.make_mesh(*shape)
  rows = jax.NamedSharding(mesh, jax.P(pairs.BATCH_AXES))
  key = jax.random.key(3)
  with jax.set_mesh(mesh):
    placed = [
      x._replace(
        zimg_BE=jax.device_put(x.zimg_BE, rows),
        ztxt_BE=jax.device_put(x.ztxt_BE, rows),
      )
      for x in (LEARNER, TEACHER)
    ]
    got = jax.jit(functools.partial(select, axes=pairs.BATCH_AXES))(
      *placed, key
    )
  assert got.tolist() == _written_out(LEARNER, TEACHER, key)


def test_rows_that_the_teacher_alone_knows_are_drawn():
  """A learner that agrees with its teacher but in 4 rows draws these first."""
  texts = np.asarray(TEACHER.ztxt_BE)
  wrong = texts.copy()
  wrong[:4] = texts[[1, 2, 3, 0]]
  learner = TEACHER._replace(ztxt_BE=wrong)
  counts = np.zeros(SIZE)
  for seed in range(50):
    got = joint_selection.select(
      learner, TEACHER, jax.random.key(seed), num_selected=4, num_blocks=1
    )
    counts[np.asarray(got)] += 1
  assert counts[:4].min() > counts[4:].max()


def test_learnability_of_equal_models_is_zero():
  s = joint_selection.learnability(LEARNER, LEARNER, np.eye(SIZE, dtype=bool))
  np.testing.assert_array_equal(s, 0)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"num_selected": 17}, "num_selected"),
    ({"num_selected": 0}, "num_selected"),
    ({"num_blocks": 3}, "multiple of num_blocks=3"),
    ({"num_blocks": 0}, "num_blocks"),
  ],
)
def test_wrong_numbers(fields, message):
  with pytest.raises(ValueError, match=message):
    select(LEARNER, TEACHER, jax.random.key(0), **fields)
