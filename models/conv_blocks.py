"""Blocks of a convolutional tower: run one by one, or scanned where equal.

A block is called as block(x_bYXC, stats, *per_block): `stats` is None to
evaluate, else a dict that the block fills with new running statistics
(models/batch_norm.py). A function under jax.checkpoint or jax.lax.scan may have
no side effects, so the functions here return that dict as a result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import P

from models import batch_norm, stack

# As stack.REMATS; "dense" keeps the outputs of convolutions as well.
REMATS: Mapping[str, Any] = {
  **stack.REMATS,
  "dense": jax.checkpoint_policies.save_from_both_policies(
    stack.REMATS["dense"],
    lambda prim, *_, **__: prim is jax.lax.conv_general_dilated_p,
  ),
}


def run(
  block: Callable[..., jax.Array],
  x_bYXC: jax.Array,
  stats: batch_norm.Statistics | None,
  *per_block: Any,
  remat: str,
  batch_axes: Sequence[str],
) -> jax.Array:
  """Return a block's output; its new statistics are added to `stats`."""
  fn = _pure(stats is not None, remat, batch_axes)
  x_bYXC, new_stats = fn(block, x_bYXC, *per_block)
  if stats is not None:
    stats.update(new_stats)
  return x_bYXC


def scan(
  blocks: Any,
  x_bYXC: jax.Array,
  stats: batch_norm.Statistics | None,
  *per_block: Any,
  remat: str,
  batch_axes: Sequence[str],
) -> jax.Array:
  """Run blocks of `stack.make_stack`; compiles once, whatever their number.

  Each array in `per_block`, and each statistic added to `stats`, has a leading
  axis with one row a block.
  """
  fn = _pure(stats is not None, remat, batch_axes)
  x_bYXC, new_stats = jax.lax.scan(
    lambda x, stacked: fn(stacked[0], x, *stacked[1:]),
    x_bYXC,
    (blocks, *per_block),
  )
  if stats is not None:
    stats.update(new_stats)
  return x_bYXC


def _pure(
  trains: bool, remat: str, batch_axes: Sequence[str]
) -> Callable[..., tuple[jax.Array, Any]]:
  """Return fn(block, x, *per_block) -> (output, new statistics)."""

  def fn(block, x_bYXC, *per_block):
    block = _gathered(block, batch_axes)
    new_stats = {} if trains else None
    y_bYXC = block(x_bYXC, new_stats, *per_block)
    return stack.split_rows(y_bYXC, batch_axes), new_stats

  policy = REMATS[remat]
  return fn if policy is None else jax.checkpoint(fn, policy=policy)


def _gathered(params: Any, batch_axes: Sequence[str]) -> Any:
  """Return parameters, gathered where they are split over axes of the batch.

  Where a convolution's kernel is split by channel, the compiler may otherwise
  split the activations by channel and gather the images of all devices. A
  program for one device stays as it is without: the constraint would change
  what XLA fuses, and so the last bits of a result.
  """
  sizes = jax.sharding.get_abstract_mesh().shape
  if math.prod(sizes[axis] for axis in batch_axes) == 1:
    return params
  return jax.tree.map(
    lambda p: jax.lax.with_sharding_constraint(p, P()), params
  )
