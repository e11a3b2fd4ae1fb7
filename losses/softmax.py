"""Softmax loss of image-text pairs: each row picks its column, and back.

Source: CLIP (arXiv 2103.00020), figure 3: the mean of the cross entropies of
both directions. Label smoothing: ALIGN (arXiv 2102.05918), section 5.1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import P


def reference(
  zimg_BE: jax.Array,
  ztxt_BE: jax.Array,
  *,
  scale: jax.Array,
  bias: jax.Array,
  label_smoothing: float = 0.0,
) -> jax.Array:
  """Return the loss, a float32 scalar, from the whole matrix of logits.

  Args:
    zimg_BE: float32, L2-normalised.
    ztxt_BE: float32, L2-normalised; row i belongs to row i of zimg_BE.
    scale: factor of the similarities, above 0; CLIP's 1 / temperature.
    bias: summand of the logits; a softmax does not depend on it.
    label_smoothing: share of the target spread evenly over all B columns.
  """
  sums = _cross_entropy(
    zimg_BE, ztxt_BE, scale, bias, 0, label_smoothing
  ) + _cross_entropy(ztxt_BE, zimg_BE, scale, bias, 0, label_smoothing)
  return sums / (2 * len(zimg_BE))


def sharded(
  zimg_BE: jax.Array,
  ztxt_BE: jax.Array,
  *,
  scale: jax.Array,
  bias: jax.Array,
  axis_names: Sequence[str],
  label_smoothing: float = 0.0,
) -> jax.Array:
  """Return `reference` where rows lie split over mesh axes.

  Args:
    zimg_BE: as in `reference`, split over `axis_names` of the mesh in use.
    ztxt_BE: likewise.
    scale: as in `reference`.
    bias: as in `reference`.
    axis_names: mesh axes that the rows are split over, in order.
    label_smoothing: as in `reference`.
  """
  axes = tuple(axis_names)

  def local_loss(zimg_bE, ztxt_bE, scale, bias):
    zimg_BE = jax.lax.all_gather(zimg_bE, axes, tiled=True)
    ztxt_BE = jax.lax.all_gather(ztxt_bE, axes, tiled=True)
    first = jax.lax.axis_index(axes) * len(zimg_bE)
    sums = _cross_entropy(
      zimg_bE, ztxt_BE, scale, bias, first, label_smoothing
    ) + _cross_entropy(ztxt_bE, zimg_BE, scale, bias, first, label_smoothing)
    return jax.lax.psum(sums, axes) / (2 * len(zimg_BE))

  return jax.shard_map(
    local_loss, in_specs=(P(axes), P(axes), P(), P()), out_specs=P()
  )(zimg_BE, ztxt_BE, scale, bias)


def _cross_entropy(
  queries_bE, targets_BE, scale, bias, first, label_smoothing
) -> jax.Array:
  """Sum over queries; query i belongs to target first + i."""
  logits_bB = (
    jnp.dot(queries_bE, targets_BE.T, precision=jax.lax.Precision.HIGHEST)
    * scale
    + bias
  )
  log_p_bB = jax.nn.log_softmax(logits_bB, axis=1)
  rows_b = jnp.arange(len(queries_bE)) + first
  own_b = jnp.take_along_axis(log_p_bB, rows_b[:, None], axis=1)[:, 0]
  target_b = own_b
  if label_smoothing:
    target_b = (1 - label_smoothing) * own_b + label_smoothing * log_p_bB.mean(
      axis=1
    )
  return -jnp.sum(target_b)


def check(label_smoothing: float) -> None:
  """Raise ValueError where `label_smoothing` cannot be used."""
  if not 0 <= label_smoothing < 1:
    raise ValueError(
      f"loss.label_smoothing must be in [0, 1); got {label_smoothing}"
    )
