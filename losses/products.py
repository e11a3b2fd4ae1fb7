"""Products of embeddings, summed in float32 for any type of embedding."""

import jax
import jax.numpy as jnp


def einsum(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """Return the float32 product of two arrays of the same type.

  float32 factors keep full precision, also on hardware that by default rounds
  them to bfloat16. bfloat16 factors are multiplied as they are, the input type
  of the matrix units.
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
  """Return float32 [b, t]: similarities * scale + bias."""
  return einsum("bE,tE->bt", zimg_bE, ztxt_tE) * scale + bias
