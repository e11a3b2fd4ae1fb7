"""Parser of XLA's text of a compiled program, as far as counting needs it.

A compiled program is a set of computations, lists of instructions that call
one another. `Program.runs` has the number of runs of each computation in one
execution, including all iterations of loops, which XLA's own cost analysis
counts once.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

_ITEM_BYTES = {
  "pred": 1,
  "bf16": 2,
  "token": 0,
  "opaque": 0,
  "c64": 8,
  "c128": 16,
}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(
  r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$"
)
# A dimension may be "<=8"; a layout may name a memory space, as in
# {1,0:T(8,128)S(1)}.
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_CALLED = re.compile(
  r"\b(body|condition|calls|to_apply|true_computation|false_computation)"
  r"=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_INTEGER = re.compile(r"^-?\d+$")


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array's shape, and whether it lies in the device's main memory."""

  dtype: str
  dims: tuple[int, ...]
  in_main_memory: bool

  @property
  def size(self) -> int:
    return math.prod(self.dims)

  @property
  def num_bytes(self) -> int:
    # The padding of tiled layouts is not counted.
    if self.dtype in _ITEM_BYTES:
      return self.size * _ITEM_BYTES[self.dtype]
    bits = re.match(r"[a-z]+(\d+)", self.dtype)
    if not bits:
      raise ValueError(f"HLO type must have a known size; got {self.dtype!r}")
    return -(-self.size * int(bits.group(1)) // 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    shapes: shapes of the result, a tuple flattened.
    operands: names of instructions; the text of a constant or parameter.
    called: (role, computation), such as ("body", "region_0.1").
    rest: text after the operands.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...]
  called: tuple[tuple[str, str], ...]
  rest: str
  is_root: bool

  @property
  def num_bytes(self) -> int:
    return sum(shape.num_bytes for shape in self.shapes)


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Program:
  """A parsed module.

  Attributes:
    computations: name -> instructions by name, in order.
    runs: name -> number of runs in one execution of the program; computations
      not reached (such as the addition of a reduction) are left out.
    fused: names of computations whose instructions run inside one kernel.
    callers: fused computation -> instruction that calls it.
    unknown_loops: number of loops without a known count, counted once.
  """

  computations: dict[str, Computation]
  runs: dict[str, int]
  fused: frozenset[str]
  callers: dict[str, Instruction]
  unknown_loops: int

  def instructions(self) -> Iterator[tuple[str, Instruction, int]]:
    """Yield (computation, instruction, runs) of everything that runs."""
    for name, runs in self.runs.items():
      for instruction in self.computations[name].values():
        yield name, instruction, runs


def parse(text: str) -> Program:
  """Return the program of `compiled.as_text()`."""
  computations: dict[str, Computation] = {}
  entry = ""
  current: Computation = {}
  for line in text.splitlines():
    if line[:1].isspace():
      instruction = _instruction(line)
      if instruction is not None:
        current[instruction.name] = instruction
      continue
    match = _COMPUTATION.match(line)
    if match and "->" in line:
      current = computations.setdefault(match.group(2), {})
      if match.group(1):
        entry = match.group(2)
  if not entry:
    raise ValueError("the text has no compiled program: it has no ENTRY")
  return _count_runs(computations, entry)


def _instruction(line: str) -> Instruction | None:
  match = _INSTRUCTION.match(line)
  if not match:
    return None
  root, name, shape, opcode, tail = match.groups()
  arguments, rest = _split_arguments(tail)
  called = tuple(_CALLED.findall(rest))
  branches = _BRANCHES.search(rest)
  if branches:
    called += tuple(
      ("branch", branch.strip().lstrip("%"))
      for branch in branches.group(1).split(",")
    )
  if opcode in ("constant", "parameter"):
    operands = (arguments,)
  else:
    operands = tuple(re.findall(r"%([\w.\-]+)", arguments))
  return Instruction(
    name, opcode, shapes(shape), operands, called, rest, bool(root)
  )


def _split_arguments(tail: str) -> tuple[str, str]:
  depth = 1
  for match in re.finditer(r"[()]", tail):
    depth += 1 if match.group() == "(" else -1
    if not depth:
      return tail[: match.start()], tail[match.end() :]
  return tail, ""


def shapes(text: str) -> tuple[Shape, ...]:
  """Return the arrays of a type, such as "(f32[2,3]{1,0}, u32[])", in order."""
  arrays = []
  for dtype, dims, layout in _SHAPE.findall(text):
    space = _SPACE.search(layout)
    arrays.append(
      Shape(
        dtype,
        tuple(int(n.lstrip("<=")) for n in dims.split(",") if n),
        space is None or space.group(1) == "0",
      )
    )
  return tuple(arrays)


def _count_runs(computations: dict[str, Computation], entry: str) -> Program:
  calls: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
  fused = set()
  callers = {}
  unknown = 0
  for name, computation in computations.items():
    for instruction in computation.values():
      trips: int | None = 1
      if instruction.opcode == "while":
        trips = _trip_count(instruction, computation, computations)
        unknown += trips is None
      for role, target in instruction.called:
        if role == "to_apply" and instruction.opcode != "call":
          continue  # the operation of a reduction
        if instruction.opcode in ("fusion", "async-start"):
          fused.add(target)
          callers[target] = instruction
        calls[name].append((target, 1 if trips is None else trips))
  runs: dict[str, int] = collections.Counter()
  for name in _callers_first(entry, calls):
    runs[name] += name == entry
    for target, times in calls[name]:
      runs[target] += runs[name] * times
  # Computations called by a fused one run inside the same kernel.
  pending = list(fused)
  while pending:
    for target, _ in calls[pending.pop()]:
      if target not in fused:
        fused.add(target)
        pending.append(target)
  return Program(computations, dict(runs), frozenset(fused), callers, unknown)


def _callers_first(entry: str, calls) -> list[str]:
  order: list[str] = []
  done = set()
  pending = [(entry, False)]
  while pending:
    name, expanded = pending.pop()
    if expanded:
      order.append(name)
    elif name not in done:
      done.add(name)
      pending.append((name, True))
      pending.extend((target, False) for target, _ in calls[name])
  return order[::-1]


def _trip_count(
  loop: Instruction, computation: Computation, computations
) -> int | None:
  """Return a loop's number of iterations, None if its text does not have it.

  XLA for CPUs writes the number. For TPUs it follows from the condition,
  "index < constant"; the loops of lax.scan count up by 1.
  """
  known = _TRIPS.search(loop.rest)
  if known:
    return int(known.group(1))
  condition = computations.get(dict(loop.called).get("condition", ""), {})
  root = next((i for i in condition.values() if i.is_root), None)
  if (
    root is None
    or root.opcode != "compare"
    or "direction=LT" not in root.rest
    or len(root.operands) != 2
  ):
    return None
  index = condition[root.operands[0]]
  limit = _integer(root.operands[1], condition)
  position = re.search(r"\bindex=(\d+)", index.rest)
  if limit is None or index.opcode != "get-tuple-element" or not position:
    return None
  start = 0
  initial = computation.get(loop.operands[0])
  if initial is not None and initial.opcode == "tuple":
    first = _integer(initial.operands[int(position.group(1))], computation)
    start = 0 if first is None else first
  return max(limit - start, 0)


def _integer(name: str, computation: Computation) -> int | None:
  while name in computation and computation[name].opcode in ("copy", "bitcast"):
    name = computation[name].operands[0]
  instruction = computation.get(name)
  if instruction is None or instruction.opcode != "constant":
    return None
  text = instruction.operands[0].strip()
  return int(text) if _INTEGER.match(text) else None
