"""Placement of arrays: the mesh, its axis names, and shardings."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import P

from runtime import checks, failures, marks, param_rules

AXES = ("data", "fsdp", "tensor")
# Axes that the rows of a batch are split over, in this order.
BATCH_AXES = ("data", "fsdp")
_AXIS_TYPES = (jax.sharding.AxisType.Auto,) * len(AXES)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Fields of `config.mesh`; configs/base.py explains them."""

  data: marks.Free[int]
  fsdp: marks.Free[int]
  tensor: marks.Free[int]

  def shape(self, num_devices: int) -> tuple[int, int, int]:
    """Return devices along each axis of AXES, -1 resolved.

    Raises:
      ValueError: the axes do not multiply to the number of devices.
    """
    sizes = [self.data, self.fsdp, self.tensor]
    got = (
      f"mesh.data={self.data}, mesh.fsdp={self.fsdp}, mesh.tensor={self.tensor}"
    )
    if sizes.count(-1) > 1 or any(n == 0 or n < -1 for n in sizes):
      raise ValueError(
        f"mesh sizes must be at least 1, and at most one may be -1; got {got}"
      )
    if -1 in sizes:
      known = math.prod(n for n in sizes if n != -1)
      sizes[sizes.index(-1)] = num_devices // known if known else 0
    if math.prod(sizes) != num_devices:
      raise ValueError(
        f"mesh sizes must multiply to the {num_devices} devices there are;"
        f" got {got}"
      )
    return sizes[0], sizes[1], sizes[2]


def make_mesh(
  config: MeshConfig, devices: Sequence[jax.Device] | None = None
) -> jax.sharding.Mesh:
  """Make the mesh of all devices (or of `devices`) with axes AXES.

  The axes of each slice follow its network (ICI). Several slices lie one after
  another along "data": the slower network between them (DCN) carries gradients
  and the loss's embeddings, never parameters or activations.

  Raises:
    ValueError: the sizes do not fit the devices or the axes of a TPU slice, or
      "data" not the slices.
  """
  devices = list(_devices() if devices is None else devices)
  shape = config.shape(len(devices))
  slices: dict[int, list[jax.Device]] = {}
  for device in devices:
    slices.setdefault(getattr(device, "slice_index", 0), []).append(device)
  if len(slices) == 1:
    return _lay(shape, devices)
  sizes = {len(members) for members in slices.values()}
  if devices[0].platform != "tpu" and shape[0] % len(slices):
    # A machine with GPUs counts as a slice, but "fsdp" may span several.
    in_order = [d for index in sorted(slices) for d in slices[index]]
    ordered = np.array(in_order).reshape(shape)
    return jax.sharding.Mesh(ordered, AXES, axis_types=_AXIS_TYPES)
  if len(sizes) > 1 or shape[0] % len(slices):
    raise ValueError(
      f"mesh.data={shape[0]} must be a multiple of the {len(slices)} slices"
      f" that there are, of equal size; they have {sorted(sizes)} devices, and"
      f" mesh.fsdp={shape[1]} x mesh.tensor={shape[2]} must fit into one"
    )
  within = (shape[0] // len(slices), *shape[1:])
  parts = [_lay(within, slices[index]) for index in sorted(slices)]
  ordered = np.concatenate([part.devices for part in parts])
  return jax.sharding.Mesh(ordered, AXES, axis_types=_AXIS_TYPES)


def layouts(sizes: Sequence[int]) -> set[tuple[int, ...]]:
  """Return the shapes of a mesh that can be laid on one TPU slice.

  An axis of the mesh lies along whole axes of the slice, so that its size is
  the product of theirs. On v5e jax.make_mesh splits axes too, and more can.

  Args:
    sizes: chips along each axis of the slice, as 8, 8, 4.

  >>> sorted(layouts((2, 4)))[:3]
  [(1, 1, 8), (1, 2, 4), (1, 4, 2)]
  """
  return {
    tuple(
      math.prod(n for n, a in zip(sizes, places, strict=True) if a == axis)
      for axis in range(len(AXES))
    )
    for places in itertools.product(range(len(AXES)), repeat=len(sizes))
  }


def _lay(
  shape: tuple[int, int, int], devices: Sequence[jax.Device]
) -> jax.sharding.Mesh:
  try:
    return jax.make_mesh(shape, AXES, axis_types=_AXIS_TYPES, devices=devices)
  except NotImplementedError as error:
    coords = np.array([device.coords for device in devices])
    sizes = [int(n) for n in np.ptp(coords, axis=0) + 1]
    fitting = sorted(x for x in layouts(sizes) if x[2] == shape[2])
    raise ValueError(
      f"mesh.data={shape[0]}, mesh.fsdp={shape[1]}, mesh.tensor={shape[2]}"
      " cannot be laid on a slice of"
      f" {' x '.join(map(str, sizes))} chips, whose whole axes each must lie"
      f" along; with mesh.tensor={shape[2]} these sizes can, data x fsdp:"
      f" {', '.join(f'{x[0]} x {x[1]}' for x in fitting) or 'none'}"
    ) from error


def param_shardings(
  partition_rules: Sequence[tuple[str, Sequence[str | None]]],
  params: Any,
  mesh: jax.sharding.Mesh,
) -> Any:
  """Return a NamedSharding for each parameter.

  Args:
    partition_rules: (regex, axes) with axes counted from the last dimension.
    params: arrays or ShapeDtypeStructs.
    mesh: from `make_mesh`.

  Raises:
    ValueError: a parameter without a rule, a rule without a parameter, an
      unknown axis, or a dimension that an axis does not divide.
  """
  axes = param_rules.apply(partition_rules, params, "partition_rules")
  return jax.tree.map_with_path(
    lambda path, param, leaf: _sharding(path, param, tuple(leaf.value), mesh),
    params,
    axes,
  )


def _sharding(path, param, axes, mesh) -> jax.NamedSharding:
  name = param_rules.path_string(path)
  if len(axes) > param.ndim:
    raise ValueError(
      f"partition_rules: {name} has {param.ndim} dimensions, its rule names"
      f" {len(axes)}: {axes}"
    )
  axes = (None,) * (param.ndim - len(axes)) + axes
  for size, axis in zip(param.shape, axes, strict=True):
    if axis is None:
      continue
    if axis not in AXES:
      raise ValueError(
        f"partition_rules: axes of {name} must be None or among"
        f" {', '.join(AXES)}; got {axis!r}"
      )
    if size % mesh.shape[axis]:
      raise ValueError(
        f"partition_rules: {name} {param.shape} cannot be split over"
        f" mesh.{axis}={mesh.shape[axis]}: {size} is not a multiple of it"
      )
  return jax.NamedSharding(mesh, P(*axes))


def like_params(tree: Any, params: Any, shardings: Any, mesh) -> Any:
  """Return shardings for optimizer state: each moment as its parameter.

  A leaf whose path ends in a parameter's path, with the same shape, gets that
  parameter's sharding; other leaves (counts, factored moments) are replicated.
  """
  by_path = {
    param_rules.path_string(path): (param.shape, sharding)
    for (path, param), sharding in zip(
      jax.tree.leaves_with_path(params), jax.tree.leaves(shardings), strict=True
    )
  }

  def sharding_of(path, leaf):
    for start in range(len(path)):
      shape, sharding = by_path.get(
        param_rules.path_string(path[start:]), (None, None)
      )
      if shape == leaf.shape:
        return sharding
    return replicated(mesh)

  return jax.tree.map_with_path(sharding_of, tree)


def replicated(mesh: jax.sharding.Mesh) -> jax.NamedSharding:
  """Return the sharding that puts a whole array on every device."""
  return jax.NamedSharding(mesh, P())


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.NamedSharding:
  """Return the sharding that splits rows over BATCH_AXES."""
  return jax.NamedSharding(mesh, P(BATCH_AXES))


def placed(array: np.ndarray, target: jax.ShapeDtypeStruct) -> jax.Array:
  """Return an array that every process has, in the sharding of `target`."""
  return jax.make_array_from_callback(
    target.shape, target.sharding, lambda index: array[index]
  )


def _devices() -> list[jax.Device]:
  """Return JAX's devices.

  Raises:
    RunError: JAX_PLATFORMS names a kind that JAX cannot use here.
  """
  try:
    return jax.devices()
  except (AssertionError, RuntimeError) as error:
    wanted = jax.config.jax_platforms  # pyrefly: ignore[missing-attribute]
    reason = str(error).partition(" (set JAX_PLATFORMS")[0] or "none is there"
    advice = "unset it to use those that are there"
    if wanted and "tpu" in wanted:
      advice += ", or pip install -r requirements-tpu.txt"
    raise failures.RunError(
      f"JAX_PLATFORMS={wanted or ''} has no device: {reason}; {advice}"
    ) from error


def num_batch_shards(
  mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh,
) -> int:
  """Return the number of parts that a batch is split into."""
  return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_batch_size(
  batch_size: int,
  mesh: jax.sharding.Mesh,
  parts: Mapping[str, int] | None = None,
  *,
  field: str = "batch_size",
) -> None:
  """Raise ValueError for a batch that the run cannot split evenly.

  Args:
    batch_size: rows of a global batch.
    mesh: mesh that the rows are split over.
    parts: config field -> number of parts that each device's rows are cut into.
    field: config field of the rows, for messages.
  """
  factors = {"data": mesh.shape["data"], "fsdp": mesh.shape["fsdp"]}
  factors |= {name: n for name, n in (parts or {}).items() if n > 1}
  if batch_size < 1 or batch_size % math.prod(factors.values()):
    checks.refuse(
      f"{field} must be a multiple of {' x '.join(factors)} ="
      f" {' x '.join(str(n) for n in factors.values())}; got {batch_size}"
    )


def local_rows(batch_size: int, mesh: jax.sharding.Mesh) -> list[int]:
  """Return the rows of a global batch that this process's devices hold.

  Rows are in order but may have gaps, since the network between devices decides
  their order in the mesh. Processes that differ only along "tensor" hold the
  same rows.
  """
  size = batch_size // num_batch_shards(mesh)
  return [
    row
    for start in _local_starts(batch_size, mesh)
    for row in range(start, start + size)
  ]


def make_global(batch: Any, mesh: jax.sharding.Mesh) -> Any:
  """Make global arrays, split over the mesh, of each process's `local_rows`.

  Args:
    batch: pytree of NumPy arrays [local rows, ...].
    mesh: mesh of `make_mesh`.
  """
  sharding = batch_sharding(mesh)
  num_shards = num_batch_shards(mesh)
  num_local = len(_local_starts(num_shards, mesh))

  def to_global(local: np.ndarray) -> jax.Array:
    size = len(local) // num_local
    starts = _local_starts(size * num_shards, mesh)

    def shard(index: Any) -> np.ndarray:
      at = starts.index(index[0].start or 0) * size
      return local[at : at + size]

    shape = (size * num_shards, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, shard)

  # The transfer is intended, but a guard lets only device_put pass as explicit.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.tree.map(to_global, batch)


@functools.lru_cache
def _local_starts(batch_size: int, mesh: jax.sharding.Mesh) -> list[int]:
  """Return the first rows of the shards that this process's devices hold."""
  indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  return sorted({index[0].start or 0 for index in indices.values() if index})
