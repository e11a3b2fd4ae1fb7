"""Joint selection of the rows of a super-batch by their learnability.

A pair (i, j) of an image and a text has a loss under the learner and one under
a teacher; their difference is its learnability S_ij, high where the teacher
knows what the learner does not. Rows are drawn in blocks without replacement:
the probability of row i in a block is proportional to exp of its own S_ii plus
sum_j (S_ij + S_ji) over the rows j that earlier blocks have drawn. So a row is
wanted for itself and for what it teaches beside the others.

Sources: JEST (arXiv 2406.17711), section 3 and appendix, for the sigmoid loss;
ACID (arXiv 2411.18674) and SigLIP 2 (arXiv 2502.14786, section 2.5) train small
models on half of a super-batch so, a larger model as teacher. JEST draws 16
blocks (as recalled).

Shape letters beside those of models/layers.py: B rows of the super-batch, n
rows of a block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import P

from losses import products
from runtime import checks

NUM_BLOCKS = 16


class Embeddings(NamedTuple):
  """Embeddings of a super-batch by one model.

  Attributes:
    zimg_BE: float32 or bfloat16, L2-normalised; models may differ in E.
    ztxt_BE: likewise; row i belongs to row i of zimg_BE.
    scale: factor of the similarities.
    bias: summand of the logits.
  """

  zimg_BE: jax.Array
  ztxt_BE: jax.Array
  scale: jax.Array
  bias: jax.Array


def check(batch_size: int, num_selected: int, num_blocks: int) -> None:
  """Raise ValueError, naming the argument, for numbers that do not fit."""
  checks.at_least("num_blocks", num_blocks, 1)
  checks.between("num_selected", num_selected, 1, batch_size)
  if num_selected % num_blocks:
    checks.refuse(
      f"num_selected must be a multiple of num_blocks={num_blocks}; got"
      f" {num_selected}"
    )


def learnability(
  learner: Embeddings, teacher: Embeddings, is_pair: jax.Array | bool
) -> jax.Array:
  """Return S of all images and texts, float32 [B, b].

  Args:
    learner: rows of images [B, E] and of texts [b, E].
    teacher: the same of the teacher.
    is_pair: bool, broadcast to [B, b]: whether image and text belong together.
  """
  losses = []
  for model in (learner, teacher):
    logits = products.logits(*model[:2], model.scale, model.bias)
    losses.append(-jax.nn.log_sigmoid(jnp.where(is_pair, logits, -logits)))
  return losses[0] - losses[1]


def select(
  learner: Embeddings,
  teacher: Embeddings,
  key: jax.Array,
  *,
  num_selected: int,
  num_blocks: int = NUM_BLOCKS,
  axes: Sequence[str] = (),
) -> jax.Array:
  """Draw rows of a super-batch, int32 [num_selected], in ascending order.

  No [B, B] is made: beside the embeddings there is [B, n] at a time, split over
  the devices.

  Args:
    learner: embeddings of the model that learns.
    teacher: those of the teacher, of the same rows.
    key: random key of the draws.
    num_selected: rows to draw; SigLIP 2 draws half.
    num_blocks: blocks in which they are drawn, a divisor of num_selected.
    axes: mesh axes that rows are split over, of the mesh in use; () for none.

  Raises:
    ValueError: the numbers do not fit.
  """
  batch_size = len(learner.zimg_BE)
  check(batch_size, num_selected, num_blocks)
  block_size = num_selected // num_blocks
  learner, teacher = jax.tree.map(jnp.asarray, (learner, teacher))

  def split(x: jax.Array) -> jax.Array:
    if not axes:
      return x
    return jax.lax.with_sharding_constraint(x, P(tuple(axes)))

  def rows(model: Embeddings, index_n: jax.Array) -> Embeddings:
    return model._replace(
      zimg_BE=model.zimg_BE[index_n], ztxt_BE=model.ztxt_BE[index_n]
    )

  def beside(images: Sequence[Embeddings], texts: Sequence[Embeddings]):
    """Return S of images and texts that do not belong together."""
    ours, theirs = (
      x._replace(ztxt_BE=y.ztxt_BE) for x, y in zip(images, texts, strict=True)
    )
    return learnability(ours, theirs, False)

  def block(carry, key):
    score_B, is_drawn_B = carry
    # The highest scores with noise of Gumbel are draws without replacement.
    noisy_B = score_B + jax.random.gumbel(key, (batch_size,))
    noisy_B = jnp.where(is_drawn_B, -jnp.inf, noisy_B)
    _, index_n = jax.lax.top_k(noisy_B, block_size)
    is_drawn_B = is_drawn_B.at[index_n].set(True)
    drawn = [rows(model, index_n) for model in (learner, teacher)]
    beside_Bn = beside((learner, teacher), drawn)
    beside_nB = beside(drawn, (learner, teacher))
    gained_B = jnp.sum(split(beside_Bn), 1) + jnp.sum(beside_nB, 0)
    return (split(score_B + gained_B), split(is_drawn_B)), None

  own_B = of_pairs(learner, teacher)
  none_B = jnp.zeros(batch_size, bool)
  (_, is_drawn_B), _ = jax.lax.scan(
    block, (split(own_B), split(none_B)), jax.random.split(key, num_blocks)
  )
  (index,) = jnp.nonzero(is_drawn_B, size=num_selected)
  return index.astype(jnp.int32)


def of_pairs(learner: Embeddings, teacher: Embeddings) -> jax.Array:
  """Return S_ii, the learnability of each row by itself, float32 [B]."""

  def loss(model: Embeddings) -> jax.Array:
    similarity_B = jnp.sum(
      model.zimg_BE.astype(jnp.float32) * model.ztxt_BE.astype(jnp.float32), 1
    )
    return -jax.nn.log_sigmoid(model.scale * similarity_B + model.bias)

  return loss(learner) - loss(teacher)
