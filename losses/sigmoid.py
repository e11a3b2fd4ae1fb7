"""Sigmoid loss of image-text pairs: every pair is a binary classification.

Source: SigLIP (arXiv 2303.15343), algorithm 1: the sum over all B * B pairs,
divided by B.
"""

import jax
import jax.numpy as jnp

from losses import products, ring
from losses import sharded as sharded_lib
from runtime import checks


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
    scale: factor of the similarities, above 0.
    bias: summand of the logits.
    labels_B: ignored.
    label_smoothing: must be 0; the sigmoid loss has none.

  >>> zimg, ztxt = jnp.eye(2), jnp.array([[0.6, 0.8], [0.0, 1.0]])
  >>> print(f"{reference(zimg, ztxt, scale=10.0, bias=-5.0):.4f}")
  1.6876
  """
  del labels_B
  check(label_smoothing)
  logits_BB = products.logits(zimg_BE, ztxt_BE, scale, bias)
  sign_BB = 2 * jnp.eye(len(zimg_BE)) - 1
  return -jnp.sum(jax.nn.log_sigmoid(sign_BB * logits_BB)) / len(zimg_BE)


def check(label_smoothing: float) -> None:
  """Raise ValueError for a `label_smoothing` other than 0."""
  if label_smoothing:
    checks.refuse(
      "loss.label_smoothing must be 0 with loss.name='sigmoid';"
      f" got {label_smoothing}"
    )


def _device_loss(
  rows: sharded_lib.Rows,
  ring: ring.Ring,
  *,
  label_smoothing: float,
  with_grads: bool,
) -> tuple[jax.Array, sharded_lib.Grads | None]:
  """Return a device's share of the loss in one tour.

  The gradient is written by hand beside the value; the test over meshes
  (tests/losses/test_sharded.py) makes this acceptable.
  """
  del label_smoothing  # 0, see check
  zimg_bE, ztxt_bE, scale, bias, _ = rows
  batch_size = len(zimg_bE) * ring.num_devices
  ids_b = ring.ids(len(zimg_bE))

  def visit(resident, block):
    logits_bt = products.logits(zimg_bE, block.sent, scale, bias)
    is_pair_bt = ids_b[:, None] == block.ids_t
    # The loss of a pair is softplus(x).
    x_bt = jnp.where(is_pair_bt, -logits_bt, logits_bt)
    if block.is_row_t is not None:
      x_bt = jnp.where(block.is_row_t, x_bt, -jnp.inf)
    # softplus and its derivative from one exponential.
    exp_bt = jnp.exp(-jnp.abs(x_bt))
    loss_bt = jnp.maximum(x_bt, 0) + jnp.log1p(exp_bt)
    loss_b = resident["loss_b"] + loss_bt.sum(axis=1)
    if not with_grads:
      return {"loss_b": loss_b}, None
    slope_bt = jnp.where(x_bt < 0, exp_bt, 1) / (1 + exp_bt)
    dlogits_bt = jnp.where(is_pair_bt, -slope_bt, slope_bt)
    factors_bt = dlogits_bt.astype(zimg_bE.dtype)
    return {
      "loss_b": loss_b,
      "dbias_b": resident["dbias_b"] + dlogits_bt.sum(axis=1),
      "dzimg_bE": resident["dzimg_bE"]
      + products.einsum("bt,tE->bE", factors_bt, block.sent),
    }, block.collected + products.einsum("bt,bE->tE", factors_bt, zimg_bE)

  # Each row has its own sums to the end, which keeps their rounding small.
  zeros_b = jnp.zeros_like(zimg_bE[:, 0], jnp.float32)
  zeros_bE = jnp.zeros_like(zimg_bE, jnp.float32)
  resident = {"loss_b": zeros_b}
  if with_grads:
    resident |= {"dbias_b": zeros_b, "dzimg_bE": zeros_bE}
  resident, dztxt_bE = ring.tour(
    visit, resident, ztxt_bE, zeros_bE if with_grads else None
  )
  loss = resident["loss_b"].sum() / batch_size
  if not with_grads:
    return loss, None
  # dzimg already sums the similarities' gradients times the texts.
  dscale = jnp.sum(resident["dzimg_bE"] * zimg_bE) / batch_size
  return loss, sharded_lib.Grads(
    resident["dzimg_bE"] * (scale / batch_size),
    dztxt_bE * (scale / batch_size),
    dscale,
    resident["dbias_b"].sum() / batch_size,
  )


sharded = sharded_lib.make_sharded(_device_loss, check)
