"""Losses of answers to questions, for one device's view of a batch.

Shape letters beside those of models/layers.py: A answers of a head, M different
answers that humans gave.
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


def soft_targets(
  label_BM: jax.Array, score_BM: jax.Array, num_answers: int
) -> jax.Array:
  """Return the target of each answer, float32 [B, A].

  Args:
    label_BM: int32 answers that humans gave, each once; -1 fills up.
    score_BM: soft accuracy of each, min(#humans / 3, 1) in VQA v2.
    num_answers: number of answers.

  >>> label, score = jnp.array([[2, 0, -1]]), jnp.array([[1.0, 0.5, 0.0]])
  >>> soft_targets(label, score, 3).tolist()
  [[0.5, 0.0, 1.0]]
  """
  one_hot_BMA = jax.nn.one_hot(label_BM, num_answers)
  return jnp.sum(one_hot_BMA * score_BM[..., None], axis=1)


def soft_binary(logits_BA: jax.Array, target_BA: jax.Array) -> jax.Array:
  """Return binary cross-entropy, summed over answers: float32 [B].

  Source: released code of ClipBERT and METER, VQA v2.

  >>> float(soft_binary(jnp.zeros((1, 2)), jnp.array([[0.5, 0.0]]))[0])
  1.3862943649291992
  """
  loss_BA = optax.sigmoid_binary_cross_entropy(
    logits_BA.astype(jnp.float32), target_BA
  )
  return jnp.sum(loss_BA, axis=1)


def weighted_mean(loss_B: jax.Array, weight_B: jax.Array) -> jax.Array:
  """Return the mean over rows of weight 1, 0 without any."""
  return jnp.sum(loss_B * weight_B) / jnp.maximum(jnp.sum(weight_B), 1)
