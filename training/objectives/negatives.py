"""Texts of other rows as negatives, drawn for each row and step.

ClipBERT and METER draw them from the whole training set; here they are those of
the batch, which differ as much where a batch is a random draw of that set.
"""

import jax
import jax.numpy as jnp


def draw(
  keys_B: jax.Array, group_B: jax.Array | None, num_negatives: int
) -> tuple[jax.Array, jax.Array]:
  """Draw rows whose texts are the negatives of each row.

  Args:
    keys_B: random key of each row.
    group_B: int32 video or image of each row, never negatives of each other;
      None where all rows differ.
    num_negatives: number drawn for each row, without replacement.

  Returns:
    int32 [B, num_negatives], rows of the batch; and bool of the same shape,
    False where a row has no further row of another group.
  """
  num_rows = len(keys_B)
  group_B = jnp.arange(num_rows) if group_B is None else group_B
  noise_BB = jax.vmap(lambda key: jax.random.uniform(key, (num_rows,)))(keys_B)
  is_other_BB = group_B[:, None] != group_B
  # Rows of the own group come last; uniform numbers are below 1.
  order_BB = jnp.argsort(jnp.where(is_other_BB, noise_BB, 2.0), axis=1)
  row_BQ = order_BB[:, :num_negatives]
  return row_BQ, jnp.take_along_axis(is_other_BB, row_BQ, axis=1)
