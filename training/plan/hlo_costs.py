"""Arithmetic and memory traffic of a compiled program, loops included.

XLA's cost analysis counts the body of a loop once, and towers here are loops
over layers. The counts here are taken from the program's text, with all
iterations.
"""

import math
import re
from collections.abc import Iterable, Sequence

from training.plan import hlo

# Instructions that only name, group or wait for arrays already in memory.
_FREE = frozenset(
  (
    "after-all",
    "bitcast",
    "call",
    "conditional",
    "constant",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "recv",
    "replica-id",
    "tuple",
    "while",
  )
)
_VIEWS = ("bitcast", "reshape", "copy", "convert")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_ALIASED = re.compile(r"output_to_operand_aliasing=\{(.*?\)\})")


def flops(program: hlo.Program) -> int:
  """Return the FLOPs of one device's matmuls and convolutions."""
  total = 0
  for name, instruction, runs in program.instructions():
    if instruction.opcode == "dot":
      total += runs * _dot_flops(instruction, program.computations[name])
    elif instruction.opcode == "convolution":
      total += runs * _conv_flops(instruction, program.computations[name])
  return total


def _dot_flops(instruction, computation) -> int:
  left = computation[instruction.operands[0]].shapes[0]
  contracted = _numbers(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
  depth = math.prod(left.dims[axis] for axis in contracted)
  return 2 * depth * instruction.shapes[0].size


def _conv_flops(instruction, computation) -> int:
  """Count the products with elements of the input, not with padding.

  XLA for TPUs writes a batch of matmuls as one convolution whose dilation and
  padding let each output meet one element only.
  """
  labels = _LABELS.search(instruction.rest)
  if not labels:
    raise ValueError(
      f"a convolution must have dim_labels; got {instruction.rest[:200]!r}"
    )
  left_labels, kernel_labels, out_labels = labels.groups()
  left, kernel = (
    computation[name].shapes[0].dims for name in instruction.operands[:2]
  )
  out = instruction.shapes[0].dims
  taps = kernel[kernel_labels.index("i")]
  for position, label in enumerate(sorted(set(out_labels) - {"b", "f"})):
    taps *= _taps(
      num_in=left[left_labels.index(label)],
      num_kernel=kernel[kernel_labels.index(label)],
      num_out=out[out_labels.index(label)],
      window=_window(instruction.rest, position),
    )
  outputs = out[out_labels.index("b")] * out[out_labels.index("f")]
  return 2 * outputs * taps


def _window(text: str, axis: int) -> dict[str, int]:
  """Return size, stride, pad (low) and dilations of one axis of a window."""
  fields = {"stride": 1, "pad": 0, "lhs_dilate": 1, "rhs_dilate": 1}
  window = re.search(r"window=\{([^}]*)\}", text)
  for item in window.group(1).split() if window else ():
    name, _, values = item.partition("=")
    if name in fields:
      fields[name] = int(values.split("x")[axis].split("_")[0])
  return fields


def _taps(num_in: int, num_kernel: int, num_out: int, window) -> int:
  """Count (output, kernel element) pairs that meet an element of the input.

  Output o and kernel element k meet position o * stride + shift(k) of the
  dilated input, where only multiples of the dilation hold an element. For
  each k these o are an arithmetic progression: batches are long.
  """
  stride, dilation = window["stride"], window["lhs_dilate"]
  span = (num_in - 1) * dilation + 1
  common = math.gcd(stride, dilation)
  period = dilation // common
  inverse = pow(stride // common, -1, period) if period > 1 else 0
  count = 0
  for k in range(num_kernel):
    shift = k * window["rhs_dilate"] - window["pad"]
    if shift % common:
      continue
    first = max(0, -(shift // stride))
    last = min(num_out - 1, (span - 1 - shift) // stride)
    residue = -(shift // common) * inverse % period
    first += (residue - first) % period
    count += max(0, (last - first) // period + 1)
  return count


def memory_bytes(program: hlo.Program) -> int:
  """Return the bytes that one device reads from and writes to main memory.

  Each instruction that is not inside a fused computation reads its operands
  and writes its result. Only the part that it touches is counted, such as a
  layer's slice of stacked parameters. Arrays in on-chip memory and the padding
  of layouts are not counted.
  """
  total = 0
  for name, instruction, runs in program.instructions():
    if name not in program.fused:
      total += runs * _touched(program, program.computations[name], instruction)
  return total


def _touched(program, computation, instruction) -> int:
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith("-done"):
    return 0
  if opcode == "custom-call" and "ConcatBitcast" in instruction.rest:
    return 0
  if opcode == "copy-start":  # the result is (target, source, context)
    return _main_bytes(instruction.shapes[:2])
  if opcode == "slice-start":  # as copy-start, but reads the target's part only
    source, target = instruction.shapes[:2]
    return target.num_bytes * (source.in_main_memory + target.in_main_memory)
  if opcode == "dynamic-update-slice":
    update = computation[instruction.operands[1]].shapes
    return 2 * _main_bytes(update)
  if opcode in ("dynamic-slice", "gather", "slice"):
    return 2 * _main_bytes(instruction.shapes)
  operands = [computation.get(name) for name in instruction.operands]
  body = program.computations.get(dict(instruction.called).get("calls", ""))
  skipped_in, skipped_out = _aliases(instruction.rest)
  if body is None or opcode != "fusion":
    read = sum(_main_bytes(o.shapes) for o in operands if o is not None)
    return read + _main_bytes(instruction.shapes)
  parameters = {
    int(i.operands[0]): i for i in body.values() if i.opcode == "parameter"
  }
  updates = _updates(body)
  read = 0
  for number, operand in enumerate(operands):
    if operand is not None and number not in skipped_in:
      read += _read_bytes(body, parameters.get(number), operand, updates)
  written = 0
  for number, shape in enumerate(instruction.shapes):
    if number in skipped_out:
      continue
    # An update in place writes the new part of an array of its shape.
    update = next((u for u in updates if u.shapes[0].dims == shape.dims), None)
    if update is not None and shape.in_main_memory:
      written += _part(body, update.operands[1])
    else:
      written += _main_bytes([shape])
  return read + written


def _read_bytes(body, parameter, operand, updates) -> int:
  if parameter is None:
    return _main_bytes(operand.shapes)
  if not all(shape.in_main_memory for shape in operand.shapes):
    return _main_bytes(operand.shapes)
  users = _users(body, parameter.name)
  if not users:
    return 0
  if all(_reads_part(user, name) for user, name in users):
    return sum(
      0 if user in updates else user.shapes[0].num_bytes for user, _ in users
    )
  return _main_bytes(operand.shapes)


def _reads_part(user: hlo.Instruction, name: str) -> bool:
  if user.opcode not in (
    "dynamic-slice",
    "gather",
    "slice",
    "dynamic-update-slice",
  ):
    return False
  return user.operands[0] == name


def _users(body, name: str) -> list[tuple[hlo.Instruction, str]]:
  """Return the users of a value or of views of it, each with the name used."""
  users = []
  pending = [name]
  while pending:
    name = pending.pop()
    for user in body.values():
      if name not in user.operands or user.opcode == "parameter":
        continue
      if user.opcode in _VIEWS and not user.is_root:
        pending.append(user.name)
      else:
        users.append((user, name))
  return users


def _updates(body) -> list[hlo.Instruction]:
  """Return the in-place updates at the end of a fused computation."""
  root = next((i for i in body.values() if i.is_root), None)
  if root is None:
    return []
  ends = [root]
  if root.opcode == "tuple":
    ends = [body[name] for name in root.operands if name in body]
  updates = []
  for end in ends:
    while end.opcode in _VIEWS and end.operands[0] in body:
      end = body[end.operands[0]]
    if end.opcode == "dynamic-update-slice":
      updates.append(end)
  return updates


def _part(body, name: str) -> int:
  return body[name].num_bytes if name in body else 0


def _aliases(text: str) -> tuple[set[int], set[int]]:
  """Return the numbers of operands and results that share a buffer.

  A kernel that advances an asynchronous operation passes its buffers through.
  """
  match = _ALIASED.search(text)
  if not match:
    return set(), set()
  pairs = re.findall(r"\{(\d*)[^}]*\}: \((\d+)", match.group(1))
  return {int(i) for _, i in pairs}, {int(o or 0) for o, _ in pairs}


def _main_bytes(shapes: Iterable[hlo.Shape]) -> int:
  return sum(s.num_bytes for s in shapes if s.in_main_memory)


def _numbers(pattern: str, text: str) -> Sequence[int]:
  match = re.search(pattern, text)
  return [int(n) for n in match.group(1).split(",") if n] if match else []
