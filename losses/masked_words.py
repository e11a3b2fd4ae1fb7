"""Masked language modelling (BERT, arXiv 1810.04805, section 3.1)."""

import jax
import jax.numpy as jnp
import optax

# Shares of the chosen tokens that become the mask, and a random token; the
# others stay.
MASKED, RANDOM = 0.8, 0.1
# Label of a token that is not predicted.
IGNORED = -1


def draw(
  tokens_bL: jax.Array,
  keys_b: jax.Array,
  *,
  probability: float,
  mask_id: int,
  kept_ids: tuple[int, ...],
  vocab_size: int,
) -> tuple[jax.Array, jax.Array]:
  """Choose tokens to be predicted, and change them.

  Args:
    tokens_bL: int32 ids.
    keys_b: one random key a row.
    probability: share of the tokens that are chosen.
    mask_id: id of the mask.
    kept_ids: ids that are never chosen: padding and marks.
    vocab_size: random tokens lie below it.

  Returns:
    The changed tokens, and the labels: ids of the chosen tokens, IGNORED for
    the others; both int32 [b, L].
  """

  def one_row(key, tokens_L):
    chosen, kind, word = jax.random.split(key, 3)
    shape = tokens_L.shape
    is_word_L = ~jnp.isin(tokens_L, jnp.asarray(kept_ids))
    is_chosen_L = is_word_L & jax.random.bernoulli(chosen, probability, shape)
    kind_L = jax.random.uniform(kind, shape)
    word_L = jax.random.randint(word, shape, 0, vocab_size, tokens_L.dtype)
    changed_L = jnp.where(
      kind_L < MASKED,
      mask_id,
      jnp.where(kind_L < MASKED + RANDOM, word_L, tokens_L),
    )
    return (
      jnp.where(is_chosen_L, changed_L, tokens_L),
      jnp.where(is_chosen_L, tokens_L, IGNORED),
    )

  return jax.vmap(one_row)(keys_b, tokens_bL)


def cross_entropy(
  logits_bLV: jax.Array, label_bL: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Return the sum of each row's losses, and their number; float32 [b].

  The loss of a batch is the sum over rows of the first, divided by that of the
  second: each predicted token counts as much, whatever its row.

  Args:
    logits_bLV: logits of the tokens.
    label_bL: int32 ids; IGNORED where nothing is predicted.

  >>> logits = jnp.zeros((1, 3, 4))
  >>> [x.tolist() for x in cross_entropy(logits, jnp.array([[2, -1, -1]]))]
  [[1.3862943649291992], [1.0]]
  """
  is_asked_bL = label_bL != IGNORED
  loss_bL = optax.softmax_cross_entropy_with_integer_labels(
    logits_bLV.astype(jnp.float32), jnp.where(is_asked_bL, label_bL, 0)
  )
  loss_b = jnp.sum(jnp.where(is_asked_bL, loss_bL, 0.0), axis=1)
  return loss_b, jnp.sum(is_asked_bL, axis=1).astype(jnp.float32)
