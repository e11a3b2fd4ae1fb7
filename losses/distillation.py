"""Self-distillation: a student's distribution over prototypes, and a teacher's.

A head makes a unit vector of each view or patch; its products with prototypes
are logits over them. The teacher's are centred and sharpened (DINO, arXiv
2104.14294, section 3.1), which keeps all rows from having one prototype. SigLIP
2 (arXiv 2502.14786, section 2.3) takes the loss for local views against a
global one (SILC, arXiv 2310.13355) and for masked patches (TIPS, arXiv
2410.16512).

Shape letters beside those of models/layers.py: R rows, Z length of a vector, K
prototypes.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import P

# Logits that exist at once, over all rows of a device: 64 MiB of float32.
CHUNK_LOGITS = 2**24


class Side(NamedTuple):
  """Vectors of the student or of the teacher, and their prototypes.

  Attributes:
    vectors_RZ: rows of L2 norm 1.
    prototypes_ZK: columns of L2 norm 1.
    temperature: divisor of the products.
  """

  vectors_RZ: jax.Array
  prototypes_ZK: jax.Array
  temperature: float


def cross_entropy(
  student: Side,
  teacher: Side,
  center_K: jax.Array,
  *,
  axes: Sequence[str] = (),
  chunk_logits: int = CHUNK_LOGITS,
) -> jax.Array:
  """Return the cross-entropy of each row, float32 [R].

  Row r is -sum_k p_k log q_k, where q is the softmax of the student's products
  over its temperature, and p of the teacher's, less `center_K`, over its own.
  The teacher and the center get no gradient. The rows are taken in chunks whose
  logits are computed again in the backward pass: no [R, K] is stored.

  Args:
    student: side that learns.
    teacher: side that it is to agree with, row by row.
    center_K: running mean of the teacher's products.
    axes: mesh axes that the rows are split over; each device takes its own rows
      in chunks. () is one device.
    chunk_logits: products of a chunk, at most; at least one row is taken.
  """
  fixed = (teacher.vectors_RZ, teacher.prototypes_ZK, center_K)
  of_device = functools.partial(
    _of_device,
    temperatures=(student.temperature, teacher.temperature),
    chunk_logits=chunk_logits,
  )
  if axes:
    rows, whole = P(tuple(axes)), P()
    of_device = jax.shard_map(
      of_device, in_specs=(rows, whole, rows, whole, whole), out_specs=rows
    )
  return of_device(
    student.vectors_RZ, student.prototypes_ZK, *jax.lax.stop_gradient(fixed)
  )


def _of_device(
  student_RZ: jax.Array,
  student_ZK: jax.Array,
  teacher_RZ: jax.Array,
  teacher_ZK: jax.Array,
  center_K: jax.Array,
  *,
  temperatures: tuple[float, float],
  chunk_logits: int,
) -> jax.Array:
  """Return the losses of one device's rows, chunk by chunk."""
  num_rows, num_prototypes = len(student_RZ), center_K.shape[0]
  size = max(1, min(num_rows, chunk_logits // num_prototypes))
  num_chunks = -(-num_rows // size)
  filled = num_chunks * size - num_rows

  def cut(x_RZ: jax.Array) -> jax.Array:
    x_RZ = jnp.pad(x_RZ, ((0, filled), (0, 0)))
    return x_RZ.reshape(num_chunks, size, -1)

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def chunk(student_ZK, rows):
    student_rZ, teacher_rZ = rows
    student_rK = _product(student_rZ, student_ZK) / temperatures[0]
    teacher_rK = _product(teacher_rZ, teacher_ZK) - center_K
    target_rK = jax.nn.softmax(teacher_rK / temperatures[1], axis=-1)
    log_rK = jax.nn.log_softmax(student_rK, axis=-1)
    return -jnp.sum(target_rK * log_rK, axis=-1)

  loss = jax.lax.map(
    lambda rows: chunk(student_ZK, rows), (cut(student_RZ), cut(teacher_RZ))
  )
  return loss.reshape(-1)[:num_rows]


def new_center(
  center_K: jax.Array,
  vectors_RZ: jax.Array,
  prototypes_ZK: jax.Array,
  *,
  momentum: float,
) -> jax.Array:
  """Return the center after a batch, float32 [K].

  The mean of products is the product of the mean, so that no [R, K] is made.

  Args:
    center_K: center before the batch.
    vectors_RZ: the teacher's vectors.
    prototypes_ZK: the teacher's prototypes.
    momentum: share of the old center that is kept.
  """
  mean_1Z = jnp.mean(vectors_RZ.astype(jnp.float32), axis=0, keepdims=True)
  mean_K = _product(mean_1Z, prototypes_ZK)[0]
  return jax.lax.stop_gradient(momentum * center_K + (1 - momentum) * mean_K)


def _product(x_RZ: jax.Array, prototypes_ZK: jax.Array) -> jax.Array:
  return jnp.dot(
    x_RZ,
    prototypes_ZK.astype(x_RZ.dtype),
    preferred_element_type=jnp.float32,
  )
