"""Tour in which the rows of all devices visit every device, in bounded memory.

The rows of a device are cut into blocks of two halves. One half of each travels
to the next device, the other to the previous one, until every row has been on
every device: links work in both directions, a hop is between neighbours and
carries half of the rows, and a device holds no more rows than its own share
for any number of devices. Results about a row (such as its gradient)
travel with it and end on the row's own device.

Letters beside those of models/layers.py: t rows of the visiting block, s the
two streams, c blocks, h rows of half a block.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Block(NamedTuple):
  """The rows that visit this device together."""

  sent: Any  # pytree of arrays [t, ...] from the rows' own device
  collected: Any  # pytree of arrays [t, ...], updated by earlier visits
  ids_t: jax.Array  # int32, number of each row in the global batch
  is_row_t: jax.Array | None  # bool, False for padding; None without padding


# (resident, block) -> (resident, collected)
Visit = Callable[[Any, Block], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Ring:
  """The devices along mesh axes, to be used inside shard_map.

  Attributes:
    axes: mesh axes, in the order that splits the rows; () makes a ring of each
      single device.
    block_size: most rows in a block.
  """

  axes: tuple[str, ...]
  block_size: int

  @property
  def num_devices(self) -> int:
    return jax.lax.axis_size(self.axes) if self.axes else 1

  @property
  def _index(self) -> jax.Array | int:
    return jax.lax.axis_index(self.axes) if self.axes else 0

  def sum(self, x: jax.Array) -> jax.Array:
    """Return the sum of `x` over the devices."""
    return jax.lax.psum(x, self.axes) if self.axes else x

  def ids(self, num_rows: int) -> jax.Array:
    """Return the numbers of this device's rows in the global batch."""
    return self._index * num_rows + jnp.arange(num_rows)

  def tour(
    self, visit: Visit, resident: Any, sent: Any, collected: Any
  ) -> tuple[Any, Any]:
    """Let all rows visit this device; return (resident, collected).

    A row count that blocks do not divide is padded with zeros, at most one row
    for each block and the one after.

    Args:
      visit: function called for each block, on n * b rows in all.
      resident: state of `visit`, which stays on this device.
      sent: pytree of arrays [b, ...] that visit every device.
      collected: pytree of arrays [b, ...], the same on every device: initial
        values of the results that visits update and that are returned.
    """
    num_rows = len(jax.tree.leaves(sent)[0])
    # Two streams: a block has at least two rows.
    num_blocks = -(-num_rows // max(self.block_size, 2))
    half = -(-num_rows // (2 * num_blocks))
    num_slots = 2 * num_blocks * half

    def split(x):
      padding = ((0, num_slots - num_rows),) + ((0, 0),) * (x.ndim - 1)
      x = jnp.pad(x, padding) if num_slots > num_rows else x
      return x.reshape(2, num_blocks, half, *x.shape[1:])

    def merge(x):
      return x.reshape(-1, *x.shape[2:])

    def step(carry, i):
      resident, sent_sch, collected_sch = carry
      hop, block = i // num_blocks, i % num_blocks

      def take(x_sch):
        return jax.lax.dynamic_index_in_dim(x_sch, block, 1, keepdims=False)

      def put(x_sch, x_sh):
        return jax.lax.dynamic_update_index_in_dim(x_sch, x_sh, block, 1)

      here_sh = jax.tree.map(take, sent_sch)
      # Transfers run while the visit computes, since no array that travels now
      # depends on this visit: the results about these rows are still on the
      # device that the rows visited before. (The last transfer brings the rows
      # home; leaving it out would take a second loop.)
      next_sh = self._pass_on(here_sh)
      arrived_sh = self._pass_on(jax.tree.map(take, collected_sch))
      owner_s = self._index + jnp.stack([-hop, hop])
      slot_sh = (
        jnp.arange(2)[:, None] * num_blocks + block
      ) * half + jnp.arange(half)
      ids_sh = owner_s[:, None] % self.num_devices * num_rows + slot_sh
      is_row_sh = slot_sh < num_rows
      resident, collected_t = visit(
        resident,
        Block(
          sent=jax.tree.map(merge, here_sh),
          collected=jax.tree.map(merge, arrived_sh),
          ids_t=merge(ids_sh),
          is_row_t=merge(is_row_sh) if num_slots > num_rows else None,
        ),
      )
      collected_sh = jax.tree.map(
        lambda x_t: x_t.reshape(2, half, *x_t.shape[1:]), collected_t
      )
      return (
        resident,
        jax.tree.map(put, sent_sch, next_sh),
        jax.tree.map(put, collected_sch, collected_sh),
      ), None

    (resident, _, collected_sch), _ = jax.lax.scan(
      step,
      (resident, jax.tree.map(split, sent), jax.tree.map(split, collected)),
      jnp.arange(self.num_devices * num_blocks),
    )

    def home(x_sch):
      return x_sch.reshape(num_slots, *x_sch.shape[3:])[:num_rows]

    return resident, jax.tree.map(home, self._pass_on(collected_sch))

  def _pass_on(self, tree: Any) -> Any:
    """Swap arrays [s, ...] with both neighbours."""
    num_devices = self.num_devices
    if num_devices == 1:
      return tree
    to_next = [(i, (i + 1) % num_devices) for i in range(num_devices)]
    to_previous = [(j, i) for i, j in to_next]

    def swap(x_s):
      return jnp.stack(
        [
          jax.lax.ppermute(x_s[0], self.axes, to_next),
          jax.lax.ppermute(x_s[1], self.axes, to_previous),
        ]
      )

    return jax.tree.map(swap, tree)
