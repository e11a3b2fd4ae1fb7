"""Maker of a differentiable loss over global arrays from one device's share.

The gradients are computed along with the value, block by block, so reverse
mode stores no logits: only four gradients wait for the backward pass. Each
module therefore writes its gradient by hand beside the value. The test over
meshes makes this acceptable: tests/losses/test_sharded.py compares value and
gradients with automatic differentiation of `reference`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import P

from losses import ring as ring_lib


class Rows(NamedTuple):
  """Inputs of one device: its rows, and the two scalars."""

  zimg_bE: jax.Array
  ztxt_bE: jax.Array
  scale: jax.Array
  bias: jax.Array
  labels_b: jax.Array | None


class Grads(NamedTuple):
  """Gradients of the ring's loss, float32; for scalars, this device's share."""

  zimg_bE: jax.Array
  ztxt_bE: jax.Array
  scale: jax.Array
  bias: jax.Array


class DeviceLoss(Protocol):
  """One device's share of a loss (the shares add up) and, if wanted, Grads."""

  def __call__(
    self,
    rows: Rows,
    ring: ring_lib.Ring,
    *,
    label_smoothing: float,
    with_grads: bool,
  ) -> tuple[jax.Array, Grads | None]: ...


class ShardedLoss(Protocol):
  """The type of a loss module's `sharded`."""

  def __call__(
    self,
    zimg_BE: jax.Array,
    ztxt_BE: jax.Array,
    *,
    scale: jax.Array,
    bias: jax.Array,
    labels_B: jax.Array | None = None,
    axis_names: Sequence[str],
    block_size: int,
    label_smoothing: float = 0.0,
    loss_axes: Sequence[str] | None = None,
  ) -> jax.Array:
    """Return the module's `reference` where rows lie split over mesh axes.

    Args:
      zimg_BE: float32 or bfloat16, L2-normalised, split over `axis_names` of
        the mesh in use.
      ztxt_BE: likewise, same type; row i belongs to row i of zimg_BE.
      scale: as in `reference`.
      bias: as in `reference`.
      labels_B: as in `reference`, split like the embeddings.
      axis_names: mesh axes that the rows are split over, in order.
      block_size: most text rows whose logits exist at once on a device; memory
        grows with it, and so does the work between two transfers.
      label_smoothing: as in `reference`.
      loss_axes: axes among `axis_names` along which devices compare their rows
        with each other, all by default; the result is the mean of the losses
        of such groups. () gives each device a loss of its own.
    """
    ...


def needed(labels_B: jax.Array | None) -> jax.Array:
  """Return the labels of a loss that compares them; ValueError for None."""
  if labels_B is None:
    raise ValueError("this loss needs labels_B, one int32 a pair; got None")
  return labels_B


def make_sharded(
  device_loss: DeviceLoss,
  check: Callable[[float], None],
  uses_labels: bool = False,
) -> ShardedLoss:
  """Make a loss over global arrays from one device's share of it.

  Args:
    device_loss: function that returns a device's share and its gradients.
    check: function that raises ValueError for an invalid label_smoothing.
    uses_labels: whether `device_loss` reads `labels_b`.
  """

  def sharded(
    zimg_BE,
    ztxt_BE,
    *,
    scale,
    bias,
    labels_B=None,
    axis_names,
    block_size,
    label_smoothing=0.0,
    loss_axes=None,
  ):
    check(label_smoothing)
    if not uses_labels:
      labels_B = None
    else:
      labels_B = needed(labels_B)
    axes = tuple(axis_names)
    group_axes = axes if loss_axes is None else tuple(loss_axes)
    ring = ring_lib.Ring(group_axes, block_size)
    in_specs = (P(axes), P(axes), P(), P(), P(axes))

    def on_device(*arrays, with_grads):
      rows = Rows(*arrays)
      loss, grads = device_loss(
        rows, ring, label_smoothing=label_smoothing, with_grads=with_grads
      )
      num_groups = math.prod(
        jax.lax.axis_size(axis) for axis in axes if axis not in group_axes
      )
      loss = jax.lax.psum(loss, axes) / num_groups
      if grads is None:
        return loss, None
      return loss, (
        (grads.zimg_bE / num_groups).astype(rows.zimg_bE.dtype),
        (grads.ztxt_bE / num_groups).astype(rows.ztxt_bE.dtype),
        jax.lax.psum(grads.scale, axes) / num_groups,
        jax.lax.psum(grads.bias, axes) / num_groups,
      )

    # The loss is differentiated outside shard_map: inside, the derivative of
    # the psum would count each device's share of the loss differently.
    @jax.custom_vjp
    def loss_fn(*arrays):
      return jax.shard_map(
        lambda *arrays: on_device(*arrays, with_grads=False)[0],
        in_specs=in_specs,
        out_specs=P(),
      )(*arrays)

    def forward(*arrays):
      return jax.shard_map(
        lambda *arrays: on_device(*arrays, with_grads=True),
        in_specs=in_specs,
        out_specs=(P(), in_specs[:4]),
      )(*arrays)

    def backward(grads, cotangent):
      return *((cotangent * g).astype(g.dtype) for g in grads), None

    loss_fn.defvjp(forward, backward)
    return loss_fn(
      zimg_BE, ztxt_BE, jnp.float32(scale), jnp.float32(bias), labels_B
    )

  return sharded
