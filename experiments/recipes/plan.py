"""Plans the step of each recipe at full size, and writes the tables.

  pip install -r requirements-tpu.txt
  python -m experiments.recipes.plan [--only=NAME,...] [--minutes=40]
  python -m experiments.recipes.plan --tables
  python -m experiments.recipes.plan --check [--compile=2]

The first compiles each recipe's step by `main.py --task=plan`, in one process
after the other, and keeps each plan in plans/NAME.json as it is made. Given
again it goes on: a recipe is compiled only if it has no plan, or if its
programs, its slice, the counting code or the compiler are others now. One that
takes more than --minutes is left out; 41 took 1 to 18 minutes of a core each.
Then the tables are written into experiments/*/README.md and
experiments/README.md, as --tables does alone.

--check compiles the smallest recipes again and compares their figures, and
compares the digests of config and programs of all others, and the tables. It
ends with 1, and the command that remakes them, if any differ. A compiler of
another version compiles other programs: then nothing is compiled.
"""

import json
import math
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import app, flags

from experiments.parts import program
from experiments.recipes import digests, plans, recipes, tables
from experiments.recipes import recipe as recipe_lib
from runtime import failures

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ONLY = flags.DEFINE_list(
  "only", [], "Recipes to plan, all without.", flag_values=_FLAGS
)
_MINUTES = flags.DEFINE_float(
  "minutes",
  40.0,
  "Minutes that a recipe may take; it is left out if it takes more.",
  lower_bound=0.0,
  flag_values=_FLAGS,
)
_TABLES = flags.DEFINE_bool(
  "tables", False, "Write the tables alone.", flag_values=_FLAGS
)
_CHECK = flags.DEFINE_bool(
  "check", False, "Compare plans and tables with the code.", flag_values=_FLAGS
)
_COMPILE = flags.DEFINE_integer(
  "compile",
  2,
  "Recipes that --check compiles again.",
  lower_bound=0,
  flag_values=_FLAGS,
)

ROOT = pathlib.Path(__file__).parents[2]
_AGAIN = "python -m experiments.recipes.plan"


def main(argv: Sequence[str]) -> int:
  del argv
  # Programs are lowered for TPUs, and no device is needed.
  jax.config.update("jax_platforms", "cpu")
  try:
    chosen = recipes.named(_ONLY.value)
  except ValueError as error:
    raise app.UsageError(str(error)) from error
  if _CHECK.value and _TABLES.value:
    raise app.UsageError("--check and --tables: give one of them")
  if _CHECK.value:
    return check(chosen, _COMPILE.value, _MINUTES.value)
  left_out = [] if _TABLES.value else make(chosen, _MINUTES.value)
  everything = recipes.named([])
  for path in tables.write(ROOT / "experiments", everything, _records()):
    print(f"{path.relative_to(ROOT)}: written")
  if left_out:
    print(f"not planned: {', '.join(left_out)}")
  return 1 if left_out else 0


def make(chosen: Sequence[recipe_lib.Recipe], minutes: float) -> list[str]:
  """Plan the recipes that have no valid plan; return those that failed."""
  compilers = digests.compilers()
  if "libtpu" not in compilers:
    raise failures.RunError(
      "plans need the TPU compiler, which runs on any Linux machine: pip"
      " install -r requirements-tpu.txt"
    )
  left_out = []
  for recipe in chosen:
    now = _digests_of(recipe)
    reason = why_stale(plans.read(plans.FOLDER, recipe.name), now, compilers)
    if not reason:
      _refresh(recipe, now)
      print(f"{recipe.name}: as planned", flush=True)
      continue
    print(f"{recipe.name}: {reason}", flush=True)
    start = time.monotonic()
    plan, error = planned(recipe, minutes)
    if plan is None:
      print(f"{recipe.name}: {error}", flush=True)
      left_out.append(recipe.name)
      continue
    plans.write(plans.FOLDER, record(recipe, plan, now, compilers))
    print(
      f"{recipe.name}: {'fits' if plan['fits'] else 'does not fit'},"
      f" {time.monotonic() - start:.0f} s",
      flush=True,
    )
  return left_out


def why_stale(
  old: Mapping[str, Any] | None,
  now: Mapping[str, str],
  compilers: Mapping[str, str],
) -> str:
  """Return why a recipe has to be compiled, "" if its plan holds."""
  if old is None:
    return "no plan yet"
  if old["compilers"] != compilers:
    return f"planned by {old['compilers']}, now {dict(compilers)}"
  for name in ("programs", "slice", "counting"):
    if old["digests"].get(name) != now[name]:
      return f"{name} changed"
  return ""


def planned(
  recipe: recipe_lib.Recipe, minutes: float
) -> tuple[dict[str, Any] | None, str]:
  """Return the plan by main.py in a process of its own, or None and why not."""
  command = [sys.executable, "main.py", "--json", *recipe.plan_flags()]
  try:
    done = subprocess.run(
      command,
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=60 * minutes,
      check=False,
    )
  except subprocess.TimeoutExpired:
    return None, f"not compiled within {minutes:g} minutes"
  # 1 is the code of a step that does not fit, and of an error.
  lines = done.stdout.strip().splitlines()
  if done.returncode in (0, 1) and lines and lines[-1].startswith("{"):
    return json.loads(lines[-1]), ""
  last = done.stderr.strip().splitlines()[-1:] or ["no message"]
  return None, f"main.py ended with {done.returncode}: {last[0]}"


def record(
  recipe: recipe_lib.Recipe,
  plan: Mapping[str, Any],
  now: Mapping[str, str],
  compilers: Mapping[str, str],
) -> dict[str, Any]:
  """Return the contents of a recipe's file."""
  return {
    "recipe": recipe.name,
    "digests": dict(now),
    "compilers": dict(compilers),
    "figures": plans.figures(recipe, plan),
    "plan": dict(plan),
  }


def check(
  chosen: Sequence[recipe_lib.Recipe], num_compiled: int, minutes: float
) -> int:
  """Compare plans with the code; return 0 if all are the same, else 1."""
  records = _records()
  problems = [
    f"{name}: its section is not that of the plans"
    for name in tables.stale(ROOT / "experiments", recipes.named([]), records)
  ]
  found = {x.name: r for x in chosen if (r := records[x.name]) is not None}
  missing = [x.name for x in chosen if x.name not in found]
  if missing:
    print(f"not yet planned: {', '.join(missing)}")
  compilers = digests.compilers()
  same = {n: r for n, r in found.items() if r["compilers"] == compilers}
  if len(same) < len(found):
    others = [x for x in found if x not in same]
    print(f"planned by another compiler than {compilers}: {', '.join(others)}")
  for recipe in chosen:
    old = found.get(recipe.name)
    if old is None:
      continue
    now = _digests_of(recipe, programs=recipe.name in same)
    problems += [
      f"{recipe.name}: {name} changed"
      for name, digest in now.items()
      if old["digests"].get(name) != digest
    ]
    if plans.figures(recipe, old["plan"]) != old["figures"]:
      problems.append(f"{recipe.name}: figures are not those of its plan")
  # Least work first: compile times depend on how busy the machine was.
  for name in sorted(same, key=lambda name: _work(same[name]))[:num_compiled]:
    problems += _compiled_again(recipes.RECIPES[name], same[name], minutes)
  for problem in problems:
    print(problem)
  if problems:
    print(f"To remake what changed: {_AGAIN}")
  else:
    print(f"{len(found)} plans hold")
  return 1 if problems else 0


def differing(
  one: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  """Return the figures in which two plans of one recipe differ."""
  return {
    name: (one[name], other.get(name))
    for name in one
    if one[name] != other.get(name)
  }


def _work(record: Mapping[str, Any]) -> float:
  """Return the TFLOP of a step, infinite where it does not fit."""
  tflop = record["figures"]["step_tflop"]
  return math.inf if tflop is None else tflop


def _compiled_again(
  recipe: recipe_lib.Recipe, old: Mapping[str, Any], minutes: float
) -> list[str]:
  plan, error = planned(recipe, minutes)
  if plan is None:
    return [f"{recipe.name}: {error}"]
  print(f"{recipe.name}: compiled again", flush=True)
  # JSON has lists for tuples.
  figures = json.loads(json.dumps(plans.figures(recipe, plan)))
  return [
    f"{recipe.name}: {name} was {was}, is {now}"
    for name, (was, now) in differing(old["figures"], figures).items()
  ]


def _refresh(recipe: recipe_lib.Recipe, now: Mapping[str, str]) -> None:
  """Write digests and figures of a plan that holds, where they differ."""
  old = plans.read(plans.FOLDER, recipe.name)
  assert old is not None
  new = record(recipe, old["plan"], now, old["compilers"])
  if json.loads(json.dumps(new)) != old:
    plans.write(plans.FOLDER, new)


def _digests_of(
  recipe: recipe_lib.Recipe, *, programs: bool = True
) -> dict[str, str]:
  made = {
    "config": digests.config(recipe),
    "slice": digests.slices(recipe),
    "counting": digests.counting(),
  }
  return made | ({"programs": digests.programs(recipe)} if programs else {})


def _records() -> dict[str, dict[str, Any] | None]:
  return {name: plans.read(plans.FOLDER, name) for name in recipes.RECIPES}


if __name__ == "__main__":
  program.run(main, _FLAGS)
