"""Text table of a plan."""

from collections.abc import Iterator, Mapping
from typing import Any

from training.plan import count_plans

_WIDTH = 34
_MEMORY = (
  ("parameters", "parameters_gib"),
  ("optimizer", "optimizer_gib"),
  ("batch", "batch_gib"),
  ("teacher", "teacher_gib"),
  ("activations, temporaries", "activations_gib"),
  ("peak", "peak_gib"),
)
_BOUNDS = {
  "compute": "compute (bf16 peak)",
  "hbm": "HBM",
  "ici": "ICI (within a slice)",
  "dcn": "DCN (between slices)",
}


def table(plan: Mapping[str, Any]) -> str:
  """Return a plan (from plan.make or phase_plans.make) as text."""
  if "phases" in plan:
    return "\n".join(_phases(plan))
  return "\n".join(_lines(plan))


def _phases(plan: Mapping[str, Any]) -> Iterator[str]:
  for name, one in plan["phases"].items():
    yield f"Phase {name}, {one['steps']:,} steps"
    yield from (f"  {line}" if line else "" for line in _lines(one))
    yield ""
  run = plan["run"]
  yield "All phases"
  yield _row("  steps", f"{run['steps']:,}")
  yield _row("  images", f"{run['images']:,}")
  for label, key, unit in (
    ("model", "model_exaflop", "EFLOP"),
    ("least time", "hours_bound", "hours, if nothing else took any"),
    ("chip-hours", "chip_hours_bound", "at least"),
  ):
    if run[key] is not None:
      yield _row(f"  {label}", f"{_number(run[key])} {unit}")


def _lines(plan: Mapping[str, Any]) -> Iterator[str]:
  if count_plans.BY_COUNT in plan:
    yield from _counts(plan)
    return
  mesh = " x ".join(f"{name} {size}" for name, size in plan["mesh"].items())
  slices = f" in {plan['num_slices']} slices" if plan["num_slices"] > 1 else ""
  yield _row("topology", f"{plan['topology']}, {plan['chips']} devices{slices}")
  yield _row("mesh", mesh)
  drawn = f", drawn from {plan['rows_read']:,}" if plan["rows_read"] else ""
  yield _row("batch size", f"{plan['batch_size']:,}{drawn}")
  yield _row("parameters", f"{plan['num_parameters'] / 1e6:,.2f} M")
  yield _row("fits", _verdict(plan))
  yield _row("compile time", f"{plan['compile_s']:.1f} s")
  yield ""
  yield "Memory of each device"
  for label, key in _MEMORY:
    if plan[key] is not None:
      yield _row(f"  {label}", f"{_number(plan[key])} GiB{_share(plan, key)}")
  if plan["hbm_gib"]:
    yield _row("  usable", f"{_number(plan['hbm_gib'])} GiB")
  if plan["fits"]:
    yield ""
    yield from _work(plan)
    yield ""
    yield from _roofline(plan)
  else:
    yield ""
    yield from _alternatives(plan)


def _counts(plan: Mapping[str, Any]) -> Iterator[str]:
  for count, one in plan[count_plans.BY_COUNT].items():
    yield f"Batches of {int(count):,} patches an image"
    yield from (f"  {line}" if line else "" for line in _lines(one))
    yield ""
  yield "Mean of a step, each number of patches as often"
  for label, key, unit in (
    ("model, all devices", "model_tflop", " TFLOP"),
    ("with recomputation", "step_tflop", " TFLOP"),
    ("highest peak", "peak_gib", " GiB"),
    ("least time", "step_s_bound", " s, if nothing else took any"),
    ("images", "images_per_s_bound", " a second at most"),
  ):
    if plan[key] is not None:
      yield _row(f"  {label}", f"{_number(plan[key])}{unit}")


def _verdict(plan) -> str:
  if not plan["fits"]:
    needs = plan["needs_gib"]
    return f"no, needs {needs:.2f} GiB a device" if needs else "no"
  return "yes" if plan["hbm_gib"] else "it compiles; no limit is known"


def _share(plan, key) -> str:
  if not plan["hbm_gib"]:
    return ""
  return f" {plan[key] / plan['hbm_gib']:7.1%}"


def _work(plan) -> Iterator[str]:
  yield "Work of one step"
  yield _row("  model, all devices", f"{_number(plan['model_tflop'])} TFLOP")
  yield _row("  with recomputation", f"{_number(plan['step_tflop'])} TFLOP")
  yield _row(
    "  as compiled, all devices", f"{_number(plan['compiled_tflop'])} TFLOP"
  )
  if plan["xla_tflop"] is not None:
    yield _row(
      "  XLA's own count",
      f"{_number(plan['xla_tflop'])} TFLOP (the body of a loop once)",
    )
  yield _row(
    "  memory traffic, each device",
    f"{_number(plan['hbm_gb'])} GB (an estimate)",
  )
  yield _row("  sent by each device", f"{_number(plan['collective_gb'])} GB")
  for row in plan["collectives"]:
    network = f" {row['network'].upper()}" if plan["hbm_gib"] else ""
    times = f"{row['count']:6,} times over {row['axes'] or 'no axis'}"
    yield _row(
      f"    {row['kind']}", f"{_number(row['gb'])} GB{network} {times}"
    )
  if plan["unknown_loops"]:
    yield (
      f"  {plan['unknown_loops']} loops of unknown length are counted once:"
      " these figures are too low"
    )


def _roofline(plan) -> Iterator[str]:
  if not plan["seconds"]:
    yield "No roofline: nothing is published of simulated devices."
    return
  yield "Least time of one step, if nothing else took any"
  for name, seconds in plan["seconds"].items():
    mark = "  <- bound" if name == plan["bound"] else ""
    yield _row(f"  {_BOUNDS[name]}", f"{_number(seconds * 1e3)} ms{mark}")
  if plan["num_slices"] > 1 and "dcn" not in plan["seconds"]:
    yield _row(f"  {_BOUNDS['dcn']}", "   unknown: no figure is published")
  yield _row(
    "  images", f"{plan['images_per_s_bound']:10,.0f} a second at most"
  )
  yield _row("  MFU", f"{plan['mfu_bound']:10.1%} at most")


def _alternatives(plan) -> Iterator[str]:
  if "alternatives" not in plan:
    return
  yield "Compiled instead"
  for row in plan["alternatives"]:
    if row["fits"]:
      result = f"fits, {row['peak_gib']:.2f} GiB"
    elif row["needs_gib"]:
      result = f"does not fit, {row['needs_gib']:.2f} GiB"
    else:
      result = "does not fit"
    yield f"  {row['flags']}: {result}"
  largest = plan["largest_batch_size"]
  yield (
    f"  --config.batch_size={largest}: the largest power of two times the"
    " batch shards that fits with nothing else changed"
    if largest
    else "  no batch size fits with nothing else changed"
  )


def _row(label: str, value: str) -> str:
  return f"{label:{_WIDTH}}{value}"


def _number(x: float) -> str:
  """Return four significant digits in 10 columns."""
  return f"{x:>10,.0f}" if x >= 1000 else f"{x:>10.4g}"
