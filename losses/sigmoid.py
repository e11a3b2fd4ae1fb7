"""Sigmoid loss of image-text pairs: every pair is a binary classification.

Source: SigLIP (arXiv 2303.15343), algorithm 1: the sum over all B * B pairs,
divided by B.
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
    scale: factor of the similarities, above 0.
    bias: summand of the logits.
    label_smoothing: must be 0; the sigmoid loss has none.
  """
  check(label_smoothing)
  return _sum_of_pairs(zimg_BE, ztxt_BE, scale, bias, 0) / len(zimg_BE)


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
    label_smoothing: must be 0.
  """
  check(label_smoothing)
  axes = tuple(axis_names)

  def local_loss(zimg_bE, ztxt_bE, scale, bias):
    ztxt_BE = jax.lax.all_gather(ztxt_bE, axes, tiled=True)
    first = jax.lax.axis_index(axes) * len(zimg_bE)
    total = _sum_of_pairs(zimg_bE, ztxt_BE, scale, bias, first)
    return jax.lax.psum(total, axes) / len(ztxt_BE)

  return jax.shard_map(
    local_loss, in_specs=(P(axes), P(axes), P(), P()), out_specs=P()
  )(zimg_BE, ztxt_BE, scale, bias)


def _sum_of_pairs(zimg_bE, ztxt_BE, scale, bias, first) -> jax.Array:
  """Sum over pairs; image i belongs to text first + i."""
  logits_bB = (
    jnp.dot(zimg_bE, ztxt_BE.T, precision=jax.lax.Precision.HIGHEST) * scale
    + bias
  )
  rows_b = jnp.arange(len(zimg_bE)) + first
  positive_bB = rows_b[:, None] == jnp.arange(len(ztxt_BE))
  return -jnp.sum(
    jax.nn.log_sigmoid(jnp.where(positive_bB, logits_bB, -logits_bB))
  )


def check(label_smoothing: float) -> None:
  """Raise ValueError where `label_smoothing` cannot be used."""
  if label_smoothing:
    raise ValueError(
      "loss.label_smoothing must be 0 with loss.name='sigmoid';"
      f" got {label_smoothing}"
    )
