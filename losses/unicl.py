"""UniCL: a softmax loss where pairs of equal label are all each other's match.

Source: UniCL (arXiv 2204.03610), equations 3 to 5, used by Florence (arXiv
2111.11432); theirs is the sum over the batch of both directions, here it is
the mean, so that different labels give the softmax loss.
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
  """
  check(label_smoothing)
  labels_B = sharded_lib.needed(labels_B)
  logits_BB = products.logits(zimg_BE, ztxt_BE, scale, bias)
  target_BB = jnp.float32(labels_B[:, None] == labels_B)
  # The same by rows as by columns, as equal labels have equal counts.
  target_BB /= target_BB.sum(axis=1, keepdims=True)
  target_BB = jnp.add(
    (1 - label_smoothing) * target_BB, label_smoothing / len(zimg_BE)
  )
  log_p_BB = jax.nn.log_softmax(logits_BB, 1) + jax.nn.log_softmax(logits_BB, 0)
  return -jnp.sum(target_BB * log_p_BB) / (2 * len(zimg_BE))


sharded = sharded_lib.make_sharded(softmax.device_loss, check, uses_labels=True)
