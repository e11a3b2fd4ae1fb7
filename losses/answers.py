"""Losses of answers to questions (MEVF, QCR), for one device's view of a batch.

Shape letters beside those of models/layers.py: A answers of a head.
"""

import jax
import jax.numpy as jnp
import optax

REDUCTIONS = ("sum", "mean")


def binary(
  logits_BA: jax.Array,
  answer_B: jax.Array,
  weight_B: jax.Array,
  *,
  reduction: str,
) -> jax.Array:
  """Return binary cross-entropy, each answer a yes or no: float32 scalar.

  The sum over answers ("sum", MEVF), or their mean ("mean", QCR's released
  code), is averaged over the rows of weight 1; without any it is 0.

  Args:
    logits_BA: logits of the answers.
    answer_B: int32 index of the right answer; -1 where none is right.
    weight_B: 1 for rows that count, 0 for the others.
    reduction: one of REDUCTIONS, over answers.

  >>> logits = jnp.array([[0.0, 0.0]])
  >>> float(binary(logits, jnp.array([0]), jnp.ones(1), reduction="mean"))
  0.6931471824645996
  """
  target_BA = jax.nn.one_hot(answer_B, logits_BA.shape[1])
  loss_BA = optax.sigmoid_binary_cross_entropy(
    logits_BA.astype(jnp.float32), target_BA
  )
  loss_B = getattr(jnp, reduction)(loss_BA, axis=1)
  return weighted_mean(loss_B, weight_B)


def weighted_mean(loss_B: jax.Array, weight_B: jax.Array) -> jax.Array:
  """Return the mean over rows of weight 1, 0 without any."""
  return jnp.sum(loss_B * weight_B) / jnp.maximum(jnp.sum(weight_B), 1)
