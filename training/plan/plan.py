"""Plan of a training step on a slice of TPU chips, made without the chips.

The step of training is compiled by XLA's TPU compiler. A step that does not fit
in memory does not compile; alternatives that fit are searched by compiling.
"""

import math
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

import jax

from runtime import marks
from runtime import mesh as mesh_lib
from runtime.storage import strict_json, whole_files
from training import config as config_lib
from training import metrics, train_state, train_step
from training.phases import switching
from training.plan import (
  collectives,
  count_plans,
  hlo,
  hlo_costs,
  phase_plans,
  plan_search,
  plan_table,
  roofline,
)
from training.plan import topology as topology_lib

PLAN = "plan.json"
_GIB = 2**30
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# "Used 35.2G of 15.75G hbm", "required for ... (190.73G) exceeds ...".
_NEEDED = re.compile(
  r"Used ([\d.]+)([KMGT]) of|\(([\d.]+)([KMGT])\) exceeds available"
)


def run(
  config: config_lib.Config,
  topology: topology_lib.Topology,
  folder: pathlib.Path | None,
  *,
  as_json: bool = False,
) -> int:
  """Compile the step and print its plan; return 0 if it fits, else 1.

  Of a run with phases, the step of each phase is compiled.

  Args:
    config: checked config.
    topology: result of topology.prepare.
    folder: folder to write plan.json to; None writes no file.
    as_json: print one JSON object instead of a table.
  """
  devices = topology_lib.devices(topology)
  if config.phases:
    plan = phase_plans.make(
      config, lambda in_force: make(in_force, topology, devices)
    )
  else:
    plan = make(config, topology, devices)
  if folder is not None:
    folder.mkdir(parents=True, exist_ok=True)
    whole_files.write(folder / PLAN, strict_json.dumps(plan, indent=2).encode())
  print(
    strict_json.dumps(plan) if as_json else plan_table.table(plan), flush=True
  )
  return 0 if plan["fits"] else 1


def check(config: config_lib.Config, topology: topology_lib.Topology) -> None:
  """Raise ValueError where no step of `config` can be made for a topology."""
  devices = topology_lib.devices(topology)
  mesh = mesh_lib.make_mesh(config.mesh, devices)
  train_step.check(config, mesh)
  if config.phases:
    switching.check(config, mesh)


def make(
  config: config_lib.Config,
  topology: topology_lib.Topology,
  devices: list[Any],
  *,
  alternatives: bool = True,
) -> dict[str, Any]:
  """Return the plan, ready for JSON; table.py labels its fields.

  With several data.augmentation.patch_counts it is that of count_plans.

  Args:
    config: checked config.
    topology: topology of `devices`.
    devices: devices to compile for; they need not exist.
    alternatives: whether to search for changes with which a step fits that
      does not.
  """
  if len(config.data.augmentation.patch_counts) > 1:
    return count_plans.make(
      config,
      lambda one: make(one, topology, devices, alternatives=alternatives),
    )
  plan = compile_step(config, topology, devices)
  if plan["fits"] or not alternatives:
    return plan

  def attempt(changes: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
      changed = plan_search.changed(config, changes)
      return compile_step(changed, topology, devices, changes)
    except ValueError as error:
      metrics.say(f"  passed over {plan_search.as_flags(changes)}: {error}")
      return None

  candidates = plan_search.candidates(
    config, len(devices) // topology.num_slices
  )
  return plan | {
    "alternatives": plan_search.first_that_fits(candidates, attempt),
    "largest_batch_size": plan_search.largest_batch(config, plan, attempt),
  }


def compile_step(
  config: config_lib.Config,
  topology: topology_lib.Topology,
  devices: list[Any],
  changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Compile one step and return its plan.

  Args:
    config: checked config.
    topology: topology of `devices`.
    devices: devices to compile for.
    changes: changes already made to the user's config, for messages.

  Raises:
    ValueError: the batch or the parameters cannot be split over the mesh.
  """
  flags = plan_search.as_flags(changes or {})
  what = f"{topology.name} {flags or f'batch {config.batch_size:,}'}"
  for count in config.data.augmentation.patch_counts:
    what += f", {count:,} patches"
  metrics.say(f"{what}: compiling")
  mesh = mesh_lib.make_mesh(config.mesh, devices)
  train_step.check(config, mesh)
  program = train_step.make(config, mesh)
  chip = topology.chip
  plan: dict[str, Any] = {
    "topology": topology.name,
    "num_slices": topology.num_slices,
    "chips": mesh.size,
    "mesh": dict(mesh.shape),
    "batch_size": config.batch_size,
    "num_parameters": train_state.count_params(program.state.params),
    "hbm_gib": chip.usable_hbm_gib if chip else None,
    "parameters_gib": _gib_per_device(program.state.params),
    "optimizer_gib": _gib_per_device(program.state.opt_state),
    "batch_gib": _gib_per_device(program.batch),
    # None without config.curating.
    "rows_read": config.num_rows_read if config.curating.is_on else None,
    "teacher_gib": (
      _gib_per_device(program.teacher) if config.curating.is_on else None
    ),
  }
  with jax.set_mesh(mesh):
    plan["step_tflop"] = train_step.count_flops(program) / 1e12
    compiled, error, plan["compile_s"] = _compile(program, mesh)
  if compiled is None:
    plan |= dict.fromkeys(_UNKNOWN_UNTIL_COMPILED)
    plan |= {"fits": False, "needs_gib": _needed_gib(error)}
  else:
    plan |= _memory(compiled, plan)
    plan |= _work(compiled, config, mesh, chip)
  metrics.say(f"{what}: {_outcome(plan)}")
  return plan


_BOUNDS = (
  "seconds",
  "bound",
  "step_s_bound",
  "images_per_s_bound",
  "mfu_bound",
)
_UNKNOWN_UNTIL_COMPILED = (
  "argument_gib",
  "temp_gib",
  "peak_gib",
  "activations_gib",
  "model_tflop",
  "compiled_tflop",
  "xla_tflop",
  "unknown_loops",
  "hbm_gb",
  "collective_gb",
  "collectives",
  *_BOUNDS,
)


def _compile(program, mesh) -> tuple[Any, str, float]:
  """Return (compiled or None, the compiler's error, seconds)."""
  start = time.monotonic()
  error = ""
  compiled = None
  try:
    compiled = train_step.compile_step(program, mesh)
  except jax.errors.JaxRuntimeError as failure:
    error = str(failure)
    if "RESOURCE_EXHAUSTED" not in error:
      raise
  return compiled, error, time.monotonic() - start


def _needed_gib(error: str) -> float | None:
  match = _NEEDED.search(error)
  if not match:
    return None
  number, unit = match.groups()[:2] if match.group(1) else match.groups()[2:]
  return float(number) * _UNITS[unit] / _GIB


def _memory(compiled, plan) -> dict[str, Any]:
  """Return GiB on one device."""
  analysis = compiled.memory_analysis()
  peak = analysis.peak_memory_in_bytes / _GIB
  known = plan["parameters_gib"] + plan["optimizer_gib"] + plan["batch_gib"]
  known += plan["teacher_gib"] or 0.0
  return {
    "fits": True,
    "needs_gib": peak,
    "argument_gib": analysis.argument_size_in_bytes / _GIB,
    "temp_gib": analysis.temp_size_in_bytes / _GIB,
    "peak_gib": peak,
    "activations_gib": max(peak - known, 0.0),
  }


def _work(compiled, config, mesh, chip) -> dict[str, Any]:
  """Return the work of the compiled step, and bounds of its time."""
  program = hlo.parse(compiled.as_text())
  chip_flops = hlo_costs.flops(program)
  hbm_bytes = hlo_costs.memory_bytes(program)
  sent = collectives.traffic(program, mesh)
  bytes_over = {
    network: sum(row.num_bytes for row in sent if row.network == network)
    for network in ("ici", "dcn")
  }
  nothing_twice = marks.no_recomputation(config_lib.Config)
  plain = plan_search.changed(config, nothing_twice)
  once = train_step.make(plain, mesh)
  with jax.set_mesh(mesh):
    model_flops = train_step.count_flops(once)
  work: dict[str, Any] = {
    "model_tflop": model_flops / 1e12,
    "compiled_tflop": chip_flops * mesh.size / 1e12,
    # Counts a loop's body once; kept to compare with published figures.
    "xla_tflop": _xla_tflop(compiled, mesh.size),
    "unknown_loops": program.unknown_loops,
    "hbm_gb": hbm_bytes / 1e9,
    "collective_gb": sum(bytes_over.values()) / 1e9,
    "collectives": [
      {
        "kind": row.kind,
        "axes": row.axes,
        "network": row.network,
        "count": row.count,
        "gb": row.num_bytes / 1e9,
      }
      for row in sent
    ],
  }
  if chip is None:
    return work | dict.fromkeys(_BOUNDS)
  return work | roofline.make(
    chip,
    num_chips=mesh.size,
    batch_size=config.batch_size,
    chip_flops=chip_flops,
    model_flops=model_flops,
    hbm_bytes=hbm_bytes,
    ici_bytes=bytes_over["ici"],
    dcn_bytes=bytes_over["dcn"],
  )


def _xla_tflop(compiled, num_devices: int) -> float | None:
  """Return XLA's own count for all devices, None if it has none."""
  analysis = compiled.cost_analysis() or {}
  if "flops" not in analysis:
    return None
  return analysis["flops"] * num_devices / 1e12


def _gib_per_device(tree: Any) -> float:
  """Return one device's GiB of ShapeDtypeStructs with shardings."""
  return (
    sum(
      math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
      for x in jax.tree.leaves(tree)
    )
    / _GIB
  )


def _outcome(plan: Mapping[str, Any]) -> str:
  if plan["fits"]:
    result = f"fits, {plan['peak_gib']:.2f} GiB a device at its peak"
  else:
    result = "does not fit"
    if plan["needs_gib"]:
      result += f", needs {plan['needs_gib']:.2f} GiB a device"
  return f"{result} (compiled in {plan['compile_s']:.0f} s)"
