"""Products of embeddings: float32 sums, whatever the embeddings' type."""

import jax
import jax.numpy as jnp


def einsum(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """Return the float32 product of two arrays of the same type.

  float32 is multiplied as such, also where the hardware would rather round it
  to bfloat16; bfloat16 stays bfloat16, which is what its matrix units take.
  """
  return jnp.einsum(
    spec,
    x,
    y,
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
  )


def logits(
  zimg_bE: jax.Array, ztxt_tE: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
  """Return float32 [b, t]: similarities, scaled and shifted."""
  return einsum("bE,tE->bt", zimg_bE, ztxt_tE) * scale + bias
