"""Every row visits every device once, and comes home with what was added."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P

from losses import ring as ring_lib
from tests.losses import pairs


@pytest.mark.slow
@pytest.mark.parametrize(
  ("num_rows", "block_size"), [(1, 4), (4, 1), (5, 2), (6, 4), (7, 100)]
)
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (2, 4)])
def test_every_row_meets_every_device(shape, num_rows, block_size):
  mesh = pairs.make_mesh(*shape)
  axes = pairs.BATCH_AXES
  batch_size = num_rows * mesh.size

  @functools.partial(
    jax.shard_map, in_specs=P(axes), out_specs=(P(axes), P(axes), P(axes))
  )
  def tour(value_b):
    ring = ring_lib.Ring(axes, block_size)
    device = jax.lax.axis_index(axes)

    def visit(counts_1B, block):
      is_row_t = jnp.ones_like(block.ids_t, bool)
      if block.is_row_t is not None:
        is_row_t = block.is_row_t
      assert len(block.ids_t) <= max(block_size, 2)
      # A row's number and its content name the same row.
      is_row_t &= block.sent == 10 * block.ids_t
      counts_1B = counts_1B.at[0, block.ids_t].add(is_row_t.astype(jnp.int32))
      return counts_1B, block.collected + 2**device

    zeros_1B = jnp.zeros((1, batch_size), jnp.int32) * value_b[0]
    counts_1B, devices_b = ring.tour(
      visit, zeros_1B, value_b, jnp.zeros_like(value_b)
    )
    return counts_1B, devices_b, ring.ids(len(value_b))

  with jax.set_mesh(mesh):
    counts, devices, ids = jax.jit(tour)(10 * jnp.arange(batch_size))
  np.testing.assert_array_equal(counts, np.ones((mesh.size, batch_size)))
  np.testing.assert_array_equal(devices, 2**mesh.size - 1)
  np.testing.assert_array_equal(ids, np.arange(batch_size))
