"""Softmax loss of image-text pairs: each row picks its column, and back.

Source: CLIP (arXiv 2103.00020), figure 3: the mean of the cross entropies of
both directions. Label smoothing: ALIGN (arXiv 2102.05918), section 5.1.
"""

import jax
import jax.numpy as jnp

from losses import products
from losses import ring as ring_lib
from losses import sharded as sharded_lib
from runtime import checks

# Logit of a padded column: its exponential is 0, and it is finite, so that a
# difference with it is never NaN.
_PADDING = -1e30


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
    scale: factor of the similarities, above 0; CLIP's 1 / temperature.
    bias: summand of the logits; a softmax does not depend on it.
    labels_B: ignored.
    label_smoothing: share of the target spread evenly over all B columns.

  >>> zimg, ztxt = jnp.eye(2), jnp.array([[0.6, 0.8], [0.0, 1.0]])
  >>> print(f"{reference(zimg, ztxt, scale=10.0, bias=0.0):.4f}")
  0.5641
  """
  del labels_B
  check(label_smoothing)
  logits_BB = products.logits(zimg_BE, ztxt_BE, scale, bias)
  log_p_BB = jax.nn.log_softmax(logits_BB, 1) + jax.nn.log_softmax(logits_BB, 0)
  own = jnp.trace(log_p_BB) / (2 * len(zimg_BE))
  even = jnp.mean(log_p_BB) / 2
  return -(1 - label_smoothing) * own - label_smoothing * even


def check(label_smoothing: float) -> None:
  """Raise ValueError for a `label_smoothing` outside [0, 1)."""
  checks.in_range("loss.label_smoothing", label_smoothing, 0, 1)


def device_loss(
  rows: sharded_lib.Rows,
  ring: ring_lib.Ring,
  *,
  label_smoothing: float,
  with_grads: bool,
) -> tuple[jax.Array, sharded_lib.Grads | None]:
  """Return a device's share in two tours: normalisers first, then gradients.

  The matches of a row are the rows of its label, or itself without labels. The
  gradient is written by hand beside the value; the test over meshes
  (tests/losses/test_sharded.py) makes this acceptable.
  """
  zimg_bE, ztxt_bE, scale, bias, labels_b = rows
  batch_size = len(zimg_bE) * ring.num_devices
  ids_b = ring.ids(len(zimg_bE))
  zeros_b = jnp.zeros_like(zimg_bE[:, 0], jnp.float32)
  zeros_bE = jnp.zeros_like(zimg_bE, jnp.float32)
  sent = {"ztxt": ztxt_bE, "labels": labels_b}

  def compare(block):
    """Return the logits of a block, and a mask of its matches."""
    logits_bt = products.logits(zimg_bE, block.sent["ztxt"], scale, bias)
    if labels_b is None:
      is_match_bt = ids_b[:, None] == block.ids_t
    else:
      is_match_bt = labels_b[:, None] == block.sent["labels"]
    if block.is_row_t is not None:
      logits_bt = jnp.where(block.is_row_t, logits_bt, _PADDING)
      is_match_bt &= block.is_row_t
    return logits_bt, is_match_bt

  def normalise(resident, block):
    logits_bt, is_match_bt = compare(block)
    return {
      "by_row": add_exp(resident["by_row"], logits_bt, 1),
      "matching_b": resident["matching_b"]
      + jnp.sum(logits_bt, axis=1, where=is_match_bt),
      "count_b": resident["count_b"] + is_match_bt.sum(axis=1),
    }, add_exp(block.collected, logits_bt, 0)

  nothing = (zeros_b - jnp.inf, zeros_b)  # largest logit, sum of exponentials
  resident, by_column = ring.tour(
    normalise,
    {"by_row": nothing, "matching_b": zeros_b, "count_b": zeros_b},
    sent,
    nothing,
  )
  count_b = resident["count_b"]
  log_row_b, log_column_b = (
    largest_b + jnp.log(sum_b)
    for largest_b, sum_b in (resident["by_row"], by_column)
  )
  target_b = resident["matching_b"] / count_b
  if label_smoothing:
    all_E = ring.sum(jnp.sum(ztxt_bE, axis=0, dtype=jnp.float32))
    mean_b = jnp.sum(zimg_bE * all_E, axis=1) * (scale / batch_size) + bias
    target_b = (1 - label_smoothing) * target_b + label_smoothing * mean_b
  loss_b = (log_row_b + log_column_b) / 2 - target_b
  loss = loss_b.sum() / batch_size
  if not with_grads:
    return loss, None

  def differentiate(dzimg_bE, block):
    logits_bt, is_match_bt = compare(block)
    p_row_bt = jnp.exp(logits_bt - log_row_b[:, None])
    p_column_bt = jnp.exp(logits_bt - block.sent["log_column"])
    match_bt = jnp.where(
      is_match_bt, (1 - label_smoothing) / count_b[:, None], 0
    )
    even = label_smoothing / batch_size
    # Columns of padding are finite and multiply rows of zeros.
    dlogits_bt = (p_row_bt + p_column_bt) / 2 - match_bt - even
    factors_bt = dlogits_bt.astype(zimg_bE.dtype)
    dzimg_bE += products.einsum("bt,tE->bE", factors_bt, block.sent["ztxt"])
    return dzimg_bE, block.collected + products.einsum(
      "bt,bE->tE", factors_bt, zimg_bE
    )

  dzimg_bE, dztxt_bE = ring.tour(
    differentiate, zeros_bE, sent | {"log_column": log_column_b}, zeros_bE
  )
  return loss, sharded_lib.Grads(
    dzimg_bE * (scale / batch_size),
    dztxt_bE * (scale / batch_size),
    jnp.sum(dzimg_bE * zimg_bE) / batch_size,
    jnp.zeros_like(zeros_b[0]),
  )


def add_exp(total, logits_bt, axis):
  """Add exp(logits), summed over `axis`, to (largest logit, sum)."""
  largest, total_exp = total
  new = jnp.maximum(largest, logits_bt.max(axis=axis))
  exp_bt = jnp.exp(logits_bt - jnp.expand_dims(new, axis))
  return new, total_exp * jnp.exp(largest - new) + exp_bt.sum(axis=axis)


sharded = sharded_lib.make_sharded(device_loss, check)
