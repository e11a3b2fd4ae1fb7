"""Self-distillation's loss equals its definition, in chunks too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import distillation

RNG = np.random.default_rng(0)
NUM, LENGTH, PROTOTYPES = 10, 4, 6
TEMPERATURES = (0.1, 0.04)


def _unit(*shape, axis=-1):
  x = RNG.normal(size=shape).astype(np.float32)
  return x / np.linalg.norm(x, axis=axis, keepdims=True)


STUDENT, TEACHER = _unit(NUM, LENGTH), _unit(NUM, LENGTH)
THEIRS, OTHERS = (_unit(LENGTH, PROTOTYPES, axis=0) for _ in range(2))
CENTER = RNG.normal(0, 0.1, PROTOTYPES).astype(np.float32)


def _sides(student=STUDENT, prototypes=THEIRS, teacher=TEACHER):
  return (
    distillation.Side(student, prototypes, TEMPERATURES[0]),
    distillation.Side(teacher, OTHERS, TEMPERATURES[1]),
  )


def _plain(student, prototypes, teacher=TEACHER):
  """Return the loss of each row, from all logits at once."""
  log_RK = jax.nn.log_softmax(student @ prototypes / TEMPERATURES[0])
  target_RK = jax.nn.softmax((teacher @ OTHERS - CENTER) / TEMPERATURES[1])
  return -jnp.sum(target_RK * log_RK, axis=1)


@pytest.mark.parametrize("rows", [1, 4, 10])
def test_chunks_equal_the_plain_loss(rows):
  """Value and gradient; 4 rows a chunk leave a last one that is not full."""

  def chunked(student, prototypes):
    return distillation.cross_entropy(
      *_sides(student, prototypes), CENTER, chunk_logits=rows * PROTOTYPES
    )

  weight_R = jnp.arange(1.0, NUM + 1)
  values, grads = zip(
    *(
      (
        fn(STUDENT, THEIRS),
        jax.grad(lambda *x, fn=fn: fn(*x) @ weight_R, (0, 1))(STUDENT, THEIRS),
      )
      for fn in (chunked, _plain)
    ),
    strict=True,
  )
  assert values[0].shape == (NUM,)
  # Float32 in another order, of logits of up to 25.
  np.testing.assert_allclose(*values, rtol=2e-6)
  for one, other in zip(*grads, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-4)


def test_no_gradient_into_the_teacher():
  def loss(teacher, prototypes, center):
    student, _ = _sides()
    return distillation.cross_entropy(
      student, distillation.Side(teacher, prototypes, 0.04), center
    ).sum()

  for grad in jax.grad(loss, (0, 1, 2))(TEACHER, OTHERS, CENTER):
    np.testing.assert_array_equal(grad, 0)


def test_the_loss_is_least_where_student_and_teacher_agree():
  same = distillation.cross_entropy(
    distillation.Side(TEACHER, OTHERS, 0.04),
    distillation.Side(TEACHER, OTHERS, 0.04),
    jnp.zeros(PROTOTYPES),
  )
  other = distillation.cross_entropy(
    distillation.Side(STUDENT, OTHERS, 0.04),
    distillation.Side(TEACHER, OTHERS, 0.04),
    jnp.zeros(PROTOTYPES),
  )
  assert (same <= other).all()
  assert float(other.sum()) > float(same.sum()) + 1


def test_the_center_is_the_mean_of_products():
  got = distillation.new_center(CENTER, TEACHER, OTHERS, momentum=0.9)
  want = 0.9 * CENTER + 0.1 * (TEACHER @ OTHERS).mean(0)
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_memory_does_not_hold_all_logits():
  """Temporaries of the gradient, by the compiler: a chunk's, not all rows'."""
  num_rows, prototypes = 2048, 1024
  shapes = [
    jax.ShapeDtypeStruct(shape, np.float32)
    for shape in ((num_rows, 8), (8, prototypes), (num_rows, 8))
  ]

  def temporaries(chunk_logits):
    def loss(student, kernel, teacher):
      return distillation.cross_entropy(
        distillation.Side(student, kernel, 0.1),
        distillation.Side(teacher, kernel, 0.04),
        jnp.zeros(prototypes),
        chunk_logits=chunk_logits,
      ).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporaries(64 * prototypes) < num_rows * prototypes * 4 / 4
  assert temporaries(num_rows * prototypes) > num_rows * prototypes * 4
