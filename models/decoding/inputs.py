"""Inputs of a decoder: the targets of earlier places, or masks.

Causal prediction shifts the targets to the right: a place reads the targets
before its own. Parallel prediction replaces the inputs by masks and lifts the
causal mask, so that a place reads the image alone (CapPa, arXiv 2306.07915,
section 3.2). A prompt, such as the task's token of LocCa (arXiv 2403.19596),
is read in both.
"""

import dataclasses

import jax
import jax.numpy as jnp

# Input that no vocabulary has: the decoder's own mask token.
MASK = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inputs:
  """Inputs of texts.

  Attributes:
    tokens_bL: int32 ids, or MASK.
    parallel_b: bool, rows without a causal mask; None for no row.
  """

  tokens_bL: jax.Array
  parallel_b: jax.Array | None = None


def causal(targets_bL: jax.Array, begin_id: int) -> Inputs:
  """Return the inputs of causal prediction: `begin_id`, then the targets.

  The last target is no input.

  >>> causal(jnp.array([[5, 6, 7]]), begin_id=1).tokens_bL.tolist()
  [[1, 5, 6]]
  """
  shifted_bL = jnp.roll(targets_bL, 1, axis=1)
  return Inputs(shifted_bL.at[:, 0].set(begin_id))


def draw_parallel(keys_b: jax.Array, share: float) -> jax.Array:
  """Return whether rows are predicted in parallel, bool [b].

  A row's draw depends on its own key alone, so it is the same in any
  micro-batch and on any mesh.

  Args:
    keys_b: one random key a row.
    share: probability of parallel prediction.
  """
  return jax.vmap(lambda key: jax.random.bernoulli(key, share))(keys_b)


def mixed(
  targets_bL: jax.Array,
  parallel_b: jax.Array,
  *,
  begin_id: int,
  prompt_b: jax.Array | None = None,
) -> Inputs:
  """Return inputs of causal and, for some rows, of parallel prediction.

  Args:
    targets_bL: int32 ids.
    parallel_b: bool, rows that are predicted in parallel.
    begin_id: first input of a row.
    prompt_b: int32, first inputs of a row, `begin_id` included, that parallel
      prediction reads too; None for none.

  >>> inputs = mixed(jnp.array([[5, 6, 7]]), jnp.array([True]), begin_id=1,
  ...                prompt_b=jnp.array([2]))
  >>> inputs.tokens_bL.tolist()
  [[1, 5, -1]]
  """
  tokens_bL = causal(targets_bL, begin_id).tokens_bL
  masked_bL = jnp.broadcast_to(parallel_b[:, None], tokens_bL.shape)
  if prompt_b is not None:
    masked_bL &= jnp.arange(tokens_bL.shape[1]) >= prompt_b[:, None]
  return Inputs(jnp.where(masked_bL, MASK, tokens_bL), parallel_b)


def weights(
  targets_bL: jax.Array, end_id: int, prompt_b: jax.Array | None = None
) -> jax.Array:
  """Return 1 for targets that count in a loss, else 0: float32 [b, L].

  They begin behind the prompt and end with the first `end_id`, also where all
  padding is `end_id`; without one they end with the row.

  Args:
    targets_bL: int32 ids.
    end_id: end of a text.
    prompt_b: as in `mixed`.

  >>> weights(jnp.array([[9, 5, 2, 2]]), 2, jnp.array([2])).tolist()
  [[0.0, 1.0, 1.0, 0.0]]
  """
  is_end_bL = targets_bL == end_id
  ends_before_bL = jnp.cumsum(is_end_bL, axis=1) - is_end_bL
  counts_bL = ends_before_bL == 0
  if prompt_b is not None:
    counts_bL &= jnp.arange(targets_bL.shape[1]) >= prompt_b[:, None] - 1
  return counts_bL.astype(jnp.float32)
