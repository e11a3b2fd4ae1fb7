"""Heads of self-distillation, and the token of masked patches.

A head is DINO's (arXiv 2104.14294, appendix C): three affine maps with GELU
between them, whose output, of L2 norm 1, meets prototypes of L2 norm 1. SigLIP
2 leaves its sizes out (arXiv 2502.14786, section 2.3): those of the config's
defaults are DINO's, and "ours" as SigLIP 2's.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import batch_norm, dual_encoder, layers
from models.distilling import distillation_config

_INIT = jax.nn.initializers.truncated_normal(0.02)


class Head(nnx.Module):
  """Vectors of L2 norm 1 to unit vectors that prototypes are compared with."""

  def __init__(
    self,
    config: distillation_config.DistillationConfig,
    width: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    dense = functools.partial(layers.Dense, dtype=dtype, rngs=rngs)
    self.first = dense(width, config.hidden_width)
    self.second = dense(config.hidden_width, config.hidden_width)
    self.last = dense(config.hidden_width, config.bottleneck_width)
    shape = (config.bottleneck_width, config.num_prototypes)
    self.kernel = nnx.Param(_INIT(rngs.params(), shape))
    # Mean of the teacher's products with its prototypes, kept with the
    # statistics of batch normalisation: no gradient changes it.
    self.running_mean = batch_norm.Statistic(jnp.zeros(config.num_prototypes))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Return unit vectors, float32 [..., Z], of features [..., D]."""
    gelu = layers.ACTIVATIONS["gelu"]
    return dual_encoder.l2_normalise(
      self.last(gelu(self.second(gelu(self.first(x)))))
    )

  def prototypes(self) -> jax.Array:
    """Return the prototypes, float32 [Z, K], columns of L2 norm 1."""
    return dual_encoder.l2_normalise(self.kernel[...].T).T


class Heads(nnx.Module):
  """A head of views, one of patches, and the mask token."""

  def __init__(
    self,
    config: distillation_config.DistillationConfig,
    *,
    embed_width: int,
    token_width: int,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters of the parts that have a weight.

    Args:
      config: checked.
      embed_width: length of the image tower's embeddings.
      token_width: width of its tokens.
      dtype: type of the arithmetic.
      rngs: random stream "params".
    """
    head = functools.partial(Head, config, dtype=dtype, rngs=rngs)
    self.views = head(embed_width) if config.consistency_weight else None
    self.patches = head(token_width) if config.masked_weight else None
    self.mask = (
      nnx.Param(_INIT(rngs.params(), (token_width,)))
      if config.masked_weight
      else None
    )


def draw_masks(keys_b: jax.Array, num_patches: int, share: float) -> jax.Array:
  """Return which patches are masked, bool [b, N]: as many of each image.

  Args:
    keys_b: one random key an image.
    num_patches: N.
    share: share of the patches that are masked, rounded to a whole number.
  """
  num_masked = round(share * num_patches)

  def one(key):
    order_N = jax.random.permutation(key, num_patches)
    return order_N < num_masked

  return jax.vmap(one)(keys_b)
