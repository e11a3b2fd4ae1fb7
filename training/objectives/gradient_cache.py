"""Gradient of a batch that does not fit in memory, by micro-batches.

A contrastive loss needs the embeddings of the whole batch, a tower's gradient
only the activations of a part of it. First all micro-batches are embedded
without storing activations; the loss and its gradient with respect to the
embeddings follow; then each micro-batch is embedded again, for its share of the
parameters' gradient. The result is the gradient of the whole batch, at the cost
of one more forward pass.

Source: "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup" (arXiv 2101.06983).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import P

from runtime import mesh as mesh_lib

# Pytree of arrays with one row a pair.
Batch = Any
Embeddings = tuple[Any, Any]  # zimg and ztxt, [b, E] each
# Arrays that a tower returns beside embeddings, such as batch statistics.
Measured = Any


def loss_and_grads(
  embed_fn: Callable[[Any, Batch], tuple[Embeddings, Measured]],
  loss_fn: Callable[[Any, Embeddings, Batch], jax.Array],
  params: Any,
  batch: Batch,
  num_microbatches: int,
) -> tuple[tuple[jax.Array, Measured], Any]:
  """Return the loss of the batch and its gradient, for the mesh in use.

  The loss comes with the mean over micro-batches of the measured arrays of the
  first pass.

  Args:
    embed_fn: function from parameters and rows to embeddings of these rows and
      measured arrays. Its random numbers depend on the rows alone, so that the
      second pass repeats them.
    loss_fn: function from parameters, the embeddings of all rows, and the rows.
    params: parameters to differentiate.
    batch: rows split over BATCH_AXES.
    num_microbatches: number of parts that each device's rows are cut into.
  """
  part = functools.partial(microbatch, num_microbatches=num_microbatches)
  indices = jnp.arange(num_microbatches)
  parts, measured = jax.lax.map(
    lambda index: embed_fn(params, part(batch, index)), indices
  )
  embeddings = join(parts)
  # The loss has parameters too: scale and bias.
  loss, (grads, dembeddings) = jax.value_and_grad(loss_fn, argnums=(0, 1))(
    params, embeddings, batch
  )

  def add_share(grads, index):
    _, pull_back = jax.vjp(lambda p: embed_fn(p, part(batch, index))[0], params)
    (share,) = pull_back(part(dembeddings, index))
    return jax.tree.map(jnp.add, grads, share), None

  grads, _ = jax.lax.scan(add_share, grads, indices)
  measured = jax.tree.map(lambda x: jnp.mean(x, axis=0), measured)
  return (loss, measured), grads


def mean_loss_and_grads(
  loss_and_grads_fn: Callable[[Batch], Any],
  batch: Batch,
  num_microbatches: int,
) -> Any:
  """Return the mean of the losses and gradients of separate micro-batches.

  This is plain gradient accumulation: `loss.scope="microbatch"`.
  """

  def add(total, index):
    share = loss_and_grads_fn(microbatch(batch, index, num_microbatches))
    return jax.tree.map(jnp.add, total, share), None

  shapes = jax.eval_shape(
    lambda: loss_and_grads_fn(microbatch(batch, 0, num_microbatches))
  )
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  total, _ = jax.lax.scan(add, zeros, jnp.arange(num_microbatches))
  return jax.tree.map(lambda x: x / num_microbatches, total)


def microbatch(batch: Any, index: Any, num_microbatches: int) -> Any:
  """Return one part of the rows, split like `batch`: no row changes its device.

  Args:
    batch: pytree of arrays [B, ...] split over BATCH_AXES.
    index: index of the part, int32; may be traced.
    num_microbatches: number of parts, a divisor of every device's rows.
  """
  num_shards = _num_shards()

  def cut(x):
    parts = x.reshape(num_shards, num_microbatches, -1, *x.shape[1:])
    parts = _split_over_devices(parts)
    part = jax.lax.dynamic_index_in_dim(parts, index, axis=1, keepdims=False)
    return _split_over_devices(part.reshape(-1, *x.shape[1:]))

  return jax.tree.map(cut, batch)


def join(parts: Any) -> Any:
  """Return arrays [k, B / k, ...] of all `microbatch` parts as [B, ...]."""
  num_shards = _num_shards()

  def join(x):
    x = x.reshape(len(x), num_shards, -1, *x.shape[2:])
    x = jnp.swapaxes(x, 0, 1)
    return _split_over_devices(x.reshape(-1, *x.shape[3:]))

  return jax.tree.map(join, parts)


def _num_shards() -> int:
  return mesh_lib.num_batch_shards(jax.sharding.get_abstract_mesh())


def _split_over_devices(x: jax.Array) -> jax.Array:
  return jax.lax.with_sharding_constraint(x, P(mesh_lib.BATCH_AXES))
