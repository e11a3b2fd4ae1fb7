"""Traffic between devices of a compiled program, by mesh axes."""

import collections
import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from training.plan import hlo

KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "collective-permute",
  "all-to-all",
)
# Kind of a transfer between slices, done by hosts, in XLA's text.
_DCN = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_CHAIN = re.compile(r'chain_id="?(\d+)"?')
_LISTED = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(
  r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
_MESH = re.compile(
  r"replica_groups=(?:@?\w+)?mesh\[([^\]]*)\]"
  r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))?"
  r"(?:\s*\{([^}]*)\})?"
)
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")


@dataclasses.dataclass(frozen=True)
class Traffic:
  """Data that one chip sends in one step, by kind, axes and network.

  Attributes:
    kind: one of KINDS.
    axes: mesh axes along which it is sent, "data" or "data+fsdp".
    network: "ici" within a slice, "dcn" between slices.
    count: number of operations.
    num_bytes: bytes sent by one chip if each operation uses the algorithm that
      sends least (a ring).
  """

  kind: str
  axes: str
  network: str
  count: int
  num_bytes: float


def traffic(program: hlo.Program, mesh: jax.sharding.Mesh) -> list[Traffic]:
  """Return the traffic of `program`, compiled for `mesh`; largest first."""
  layout = _Layout(mesh)
  totals: dict[tuple[str, str, str], list[float]] = collections.defaultdict(
    lambda: [0, 0.0]
  )
  for name, instruction, runs in _operations(program):
    sent = _sent(program, name, instruction, layout)
    if sent is not None:
      kind, axes, network, num_bytes = sent
      totals[kind, axes, network][0] += runs
      totals[kind, axes, network][1] += runs * num_bytes
  rows = [
    Traffic(kind, axes, network, int(count), num_bytes)
    for (kind, axes, network), (count, num_bytes) in totals.items()
  ]
  return sorted(rows, key=lambda row: (-row.num_bytes, row.kind, row.axes))


def _operations(program: hlo.Program):
  """Yield (computation, instruction, runs), each operation once.

  XLA for TPUs spreads an asynchronous operation over kernels: its start, its
  end, and others that advance it while they compute. Each has a copy of the
  instruction with the same chain_id; the copy that runs least often runs as
  often as the operation.
  """
  chains: dict[tuple[str, str], tuple[str, hlo.Instruction, int]] = {}
  for name, instruction, runs in program.instructions():
    opcode = instruction.opcode.removesuffix("-start")
    if opcode not in KINDS and opcode != "send":
      continue
    chain = _CHAIN.search(instruction.rest)
    if name in program.fused and chain:
      key = (opcode, chain.group(1))
      if key not in chains or runs < chains[key][2]:
        chains[key] = (name, instruction, runs)
    else:
      yield name, instruction, runs
  yield from chains.values()


def _sent(
  program: hlo.Program, name: str, instruction: hlo.Instruction, layout
) -> tuple[str, str, str, float] | None:
  """Return (kind, axes, network, bytes of one run), None if nothing is sent."""
  computation = program.computations[name]
  num_in = sum(
    computation[operand].num_bytes
    for operand in instruction.operands
    if operand in computation
  )
  kind = instruction.opcode.removesuffix("-start")
  if kind == "send":
    between = _DCN.search(instruction.rest)
    if not between:
      return None
    kind = between.group(1).lower().replace("_", "-")
    slices = layout.num_slices
    # A gather's operand is this chip's part, other operands are the whole.
    total = num_in * (slices if kind == "all-gather" else 1)
    return kind, layout.slice_axes, "dcn", ring_bytes(kind, total, slices)
  if kind == "collective-permute":
    pairs = [(a, b) for a, b in _pairs(instruction.rest) if a != b]
    if not pairs:
      return None
    axes = layout.axes(pairs)
    network = "dcn" if layout.crosses_slices(pairs) else "ici"
    return kind, axes, network, float(num_in)
  groups = replica_groups(instruction.rest, layout.num_devices)
  size = max(len(group) for group in groups)
  if size == 1:
    return None
  if kind == "all-reduce" and _keeps_a_part(program, name):
    kind = "reduce-scatter"
  num_bytes = num_in * (size if kind == "all-gather" else 1)
  network = "dcn" if layout.crosses_slices(groups) else "ici"
  return (
    kind,
    layout.axes(groups),
    network,
    ring_bytes(kind, num_bytes, size),
  )


def ring_bytes(kind: str, num_bytes: float, size: int) -> float:
  """Return the bytes that each of `size` devices in a ring must send.

  Args:
    kind: one of KINDS.
    num_bytes: size of the whole array before a reduction or an exchange, after
      a gather.
    size: number of devices in the group.
  """
  if kind == "collective-permute":
    return float(num_bytes)
  passes = 2 if kind == "all-reduce" else 1
  return passes * num_bytes * (size - 1) / size


def _keeps_a_part(program: hlo.Program, name: str) -> bool:
  """Return whether a fused all-reduce is a reduce-scatter of XLA for TPUs."""
  caller = program.callers.get(name)
  return caller is not None and (
    "all-reduce-scatter" in name or "all-reduce-scatter" in caller.name
  )


class _Layout:
  """Mesh coordinates and slice of each device's number."""

  def __init__(self, mesh: jax.sharding.Mesh):
    self._names: tuple[Any, ...] = mesh.axis_names
    shape = mesh.devices.shape
    self.num_devices: int = mesh.size
    self._coordinates = np.stack(
      np.unravel_index(np.arange(mesh.size), shape), axis=1
    )
    self._slices = np.array(
      [getattr(d, "slice_index", None) or 0 for d in mesh.devices.flat]
    )
    self.num_slices: int = len(set(self._slices.tolist()))
    numbers = self._slices.reshape(shape)
    self.slice_axes: str = "+".join(
      name
      for axis, name in enumerate(self._names)
      if np.any(np.diff(numbers, axis=axis))
    )

  def axes(self, groups: Sequence[Sequence[int]]) -> str:
    """Return the axes along which members of a group differ."""
    members = [self._coordinates[list(group)] for group in groups]
    varies = np.any([np.ptp(m, axis=0) > 0 for m in members], axis=0)
    return "+".join(
      name for name, v in zip(self._names, varies, strict=True) if v
    )

  def crosses_slices(self, groups: Sequence[Sequence[int]]) -> bool:
    return any(len(set(self._slices[list(g)].tolist())) > 1 for g in groups)


def replica_groups(text: str, num_devices: int) -> list[list[int]]:
  """Return the groups of an instruction, in any of the forms XLA writes.

  The forms are a list, {{0,1},{2,3}}; a reshaped and transposed count,
  [2,2]<=[2,2]T(1,0); and axes of a mesh, mesh['a'=2,'b'=2] {'b'}.

  Raises:
    ValueError: the text has none of these forms.
  """
  listed = _LISTED.search(text)
  if listed:
    groups = [
      [int(n) for n in group.split(",") if n]
      for group in re.findall(r"\{([\d,]*)\}", listed.group(1))
    ]
    return groups or [list(range(num_devices))]
  iota = _IOTA.search(text)
  if iota:
    shape, source, order = (_numbers(g) for g in iota.groups())
    ids = _iota(source, order)
    return ids.reshape(shape[0], -1).tolist()
  named = _MESH.search(text)
  if named:
    return _mesh_groups(*named.groups())
  raise ValueError(
    f"replica groups in a form that is not known: {text[:200]!r}"
  )


def _mesh_groups(axes, source, order, chosen) -> list[list[int]]:
  sizes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", axes)}
  names = list(sizes)
  ids = _iota(_numbers(source) or [math.prod(sizes.values())], _numbers(order))
  ids = ids.reshape(list(sizes.values()))
  # An axis may be named in part: 'a':(2)4 is its factor of 4 after one of 2.
  split: list[int] = []
  group_axes = []
  wanted = {
    name: (int(before or 1), int(size or sizes[name]))
    for name, before, size in re.findall(
      r"'([^']+)'(?::\((\d+)\)(\d+))?", chosen or ""
    )
  }
  for name in names:
    before, size = wanted.get(name, (sizes[name], 1))
    if name in wanted:
      group_axes.append(len(split) + 1)
    split += [before, size, sizes[name] // (before * size)]
  ids = ids.reshape(split)
  others = [axis for axis in range(ids.ndim) if axis not in group_axes]
  ids = ids.transpose(others + group_axes)
  members = math.prod(size for _, size in wanted.values())
  return ids.reshape(-1, members).tolist()


def _iota(source: Sequence[int], order: Sequence[int]) -> np.ndarray:
  ids = np.arange(math.prod(source)).reshape(source)
  return ids.transpose(order) if order else ids


def _numbers(text: str | None) -> list[int]:
  return [int(n) for n in (text or "").split(",") if n]


def _pairs(text: str) -> list[tuple[int, int]]:
  match = _PAIRS.search(text)
  numbers = _numbers(re.sub(r"[{}]", "", match.group(1))) if match else []
  return list(zip(numbers[::2], numbers[1::2], strict=True))
