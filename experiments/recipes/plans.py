"""Plans of recipes as files: plans/NAME.json, and what is read from them."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.recipes import recipe as recipe_lib
from runtime import failures
from runtime.storage import strict_json, whole_files

FOLDER = pathlib.Path(__file__).parent / "plans"


def read(folder: pathlib.Path, name: str) -> dict[str, Any] | None:
  """Return a recipe's file, None if it has not been planned.

  Its fields are "recipe", its name, "digests", "compilers", "figures" and
  "plan", the output of --task=plan.

  Raises:
    RunError: the file is no such JSON.
  """
  path = folder / f"{name}.json"
  if not path.exists():
    return None
  try:
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["recipe"] != name or not isinstance(record["plan"], dict):
      raise ValueError("it is of another recipe, or has no plan")
  except (ValueError, KeyError, TypeError) as error:
    raise failures.RunError(
      f"{path} is no plan of {name}: {error}. Delete it to make it anew"
    ) from error
  return record


def write(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Write a recipe's file, whole or not at all."""
  folder.mkdir(parents=True, exist_ok=True)
  text = strict_json.dumps(record, indent=1) + "\n"
  whole_files.write(folder / f"{record['recipe']}.json", text.encode())


def figures(
  recipe: recipe_lib.Recipe, plan: Mapping[str, Any]
) -> dict[str, Any]:
  """Return the figures of a plan; those of work are None if it does not fit.

  "memory_gib" is the highest peak of a chip, and what the step would need if
  it does not fit; "step_tflop" the work of all chips as compiled, recomputation
  included; "images_per_s_bound", "mfu_bound" and "chip_hours_bound" follow from
  the time of the step's most used resource, and so are bounds: no run is as
  fast. With phases, figures of a step are means over the run's steps.
  """
  parts = [*plan["phases"].values()] if "phases" in plan else [plan]
  first = parts[0]
  made: dict[str, Any] = {
    "fits": plan["fits"],
    "chips": first["chips"],
    "mesh": first["mesh"],
    "memory_gib": _highest([x["needs_gib"] for x in parts]),
    "usable_gib": first["hbm_gib"],
    "num_parameters": max(x["num_parameters"] for x in parts),
    "pairs": recipe.pairs,
  }
  names = ("step_tflop", "images_per_s_bound", "mfu_bound", "chip_hours_bound")
  if not plan["fits"] or any(x["step_s_bound"] is None for x in parts):
    return made | dict.fromkeys(names)
  steps = [x.get("steps", 1) for x in parts]
  rows = _total([x["batch_size"] for x in parts], steps)
  seconds = _total([x["step_s_bound"] for x in parts], steps)
  busy = [x["mfu_bound"] * x["step_s_bound"] for x in parts]
  # Seconds of all pairs: a run with phases may read some twice or leave some
  # out; its steps are what it costs.
  whole = seconds if "phases" in plan else recipe.pairs / rows * seconds
  return made | {
    "step_tflop": _total([x["compiled_tflop"] for x in parts], steps)
    / sum(steps),
    "images_per_s_bound": rows / seconds,
    "mfu_bound": _total(busy, steps) / seconds,
    "chip_hours_bound": whole * first["chips"] / 3600,
  }


def _total(values: list[float], steps: list[int]) -> float:
  return sum(x * n for x, n in zip(values, steps, strict=True))


def _highest(values: list[float | None]) -> float | None:
  known = [x for x in values if x is not None]
  return max(known) if known else None
