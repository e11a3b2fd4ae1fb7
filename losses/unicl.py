"""UniCL: a softmax loss where pairs of equal label are all each other's match.

Source: UniCL (arXiv 2204.03610), equations 3 to 5, used by Florence (arXiv
2111.11432). The paper sums over the batch and both directions; this is the
mean, so that with all labels different it equals the softmax loss.
"""

import jax
import jax.numpy as jnp

from losses import products, softmax
from losses import sharded as sharded_lib

check = softmax.check


def reference(
  zimg_BE: jax.Array,
  ztxt_BE: jax.Array,
  *,
  scale: jax.Array,
  bias: jax.Array,
  labels_B: jax.Array | None = None,
  label_smoothing: float = 0.0,
) -> jax.Array:
  """Return the loss, a float32 scalar, from the whole matrix of logits.

  Args:
    zimg_BE: float32 or bfloat16, L2-normalised.
    ztxt_BE: likewise; row i belongs to row i of zimg_BE.
    scale: factor of the similarities, above 0; 1 / temperature.
    bias: summand of the logits; a softmax does not depend on it.
    labels_B: int32, equal where captions are equal.
    label_smoothing: share of the target spread evenly over all B columns.

  >>> zimg, ztxt = jnp.eye(2), jnp.array([[0.6, 0.8], [0.0, 1.0]])
  >>> args = {"scale": 10.0, "bias": 0.0, "labels_B": jnp.array([7, 7])}
  >>> print(f"{reference(zimg, ztxt, **args):.4f}")
  2.5641
  """
  check(label_smoothing)
  labels_B = sharded_lib.needed(labels_B)
  logits_BB = products.logits(zimg_BE, ztxt_BE, scale, bias)
  target_BB = jnp.float32(labels_B[:, None] == labels_B)
  # The target is symmetric, since rows of equal label have equal counts.
  target_BB /= target_BB.sum(axis=1, keepdims=True)
  target_BB = jnp.add(
    (1 - label_smoothing) * target_BB, label_smoothing / len(zimg_BE)
  )
  log_p_BB = jax.nn.log_softmax(logits_BB, 1) + jax.nn.log_softmax(logits_BB, 0)
  return -jnp.sum(target_BB * log_p_BB) / (2 * len(zimg_BE))


sharded = sharded_lib.make_sharded(softmax.device_loss, check, uses_labels=True)
