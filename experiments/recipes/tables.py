"""Sections of the README.md of each baseline: its recipes at full size."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.recipes import recipe as recipe_lib
from runtime import failures
from runtime.storage import whole_files

BEGIN, END = "<!-- recipe -->", "<!-- /recipe -->"
# Marks of the table of all recipes, in the README.md of all experiments.
_ALL = "<!-- recipes -->", "<!-- /recipes -->"
_ALL_HEADS = (
  *("recipe", "slice", "fits", "GiB a chip", "pairs", "chip-hours, at least"),
  "the paper's cost",
)
_HEADS = (
  *("variant", "slice", "mesh", "fits", "GiB a chip", "TFLOP a step"),
  *("images/s, at most", "MFU, at most", "pairs", "chip-hours, at least"),
  "the paper's hardware and cost",
)
Records = Mapping[str, Mapping[str, Any] | None]


def write(
  root: pathlib.Path, recipes: Sequence[recipe_lib.Recipe], records: Records
) -> list[pathlib.Path]:
  """Write the sections and the table of all; return the files that changed.

  A file without the markers gets them at its end; a missing one is made.

  Args:
    root: folder of the experiments.
    recipes: all recipes.
    records: plan of each recipe by its name, None where there is none.

  Raises:
    RunError: a file has one marker alone.
  """
  changed = []
  for path, text in _files(root, recipes, records).items():
    old = path.read_text(encoding="utf-8") if path.exists() else None
    new = _placed(path, old, text)
    if new != old:
      path.parent.mkdir(parents=True, exist_ok=True)
      whole_files.write(path, new.encode())
      changed.append(path)
  return changed


def stale(
  root: pathlib.Path, recipes: Sequence[recipe_lib.Recipe], records: Records
) -> list[str]:
  """Return the files whose section is not that of the plans."""
  names = []
  for path, text in _files(root, recipes, records).items():
    if not path.exists() or text not in path.read_text(encoding="utf-8"):
      names.append(f"experiments/{path.relative_to(root)}")
  return names


def sections(
  recipes: Sequence[recipe_lib.Recipe], records: Records
) -> dict[str, str]:
  """Return folder -> section, its markers included."""
  by_folder: dict[str, list[recipe_lib.Recipe]] = {}
  for recipe in recipes:
    by_folder.setdefault(recipe.folder, []).append(recipe)
  return {
    folder: "\n".join([BEGIN, *_lines(members, records), END])
    for folder, members in by_folder.items()
  }


def overview(recipes: Sequence[recipe_lib.Recipe], records: Records) -> str:
  """Return the table of all recipes by their folders, its marks included."""
  lines = [
    _ALL[0],
    "## Recipes at full size",
    "",
    "Each is planned, none is run here. Its page has the command, the paper's"
    " figure, and",
    "what the bounds mean.",
    "",
    f"| {' | '.join(_ALL_HEADS)} |",
    f"|{'---|' * len(_ALL_HEADS)}",
  ]
  for x in sorted(recipes, key=lambda x: x.folder):
    record = records[x.name]
    cells = [
      f"[{x.module}, {x.variant}]({x.folder}/README.md)",
      _slice(x),
      *_fits_and_memory(record),
      _pairs(x.pairs),
      _chip_hours(record),
      x.cost,
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join([*lines, _ALL[1]])


def _files(
  root: pathlib.Path, recipes: Sequence[recipe_lib.Recipe], records: Records
) -> dict[pathlib.Path, str]:
  """Return file -> section, its markers included."""
  files = {
    root / folder / "README.md": text
    for folder, text in sections(recipes, records).items()
  }
  return files | {root / "README.md": overview(recipes, records)}


def _lines(recipes: Sequence[recipe_lib.Recipe], records: Records) -> list[str]:
  made = [record for x in recipes if (record := records[x.name])]
  versions = sorted(
    {
      ", ".join(f"{name} {version}" for name, version in x["compilers"].items())
      for x in made
    }
  )
  source = f" ({'; '.join(versions)})" if versions else ""
  lines = [
    "## Full size: planned, not yet run",
    "",
    "The step of training is compiled for each slice, without the chips"
    f"{source}. Nothing was",
    "run. Images a second, MFU and chip-hours are bounds from the step's most"
    " used resource:",
    "a real run is slower and costs more.",
    "",
    f"| {' | '.join(_HEADS)} |",
    f"|{'---|' * len(_HEADS)}",
  ]
  lines += [_row(x, records[x.name]) for x in recipes]
  lines += [
    "",
    "**Made by** `python -m experiments.recipes.plan"
    f" --only={','.join(x.name for x in recipes)}`.",
  ]
  changed = [x for x in recipes if x.changes]
  if changed:
    lines += ["", "**Changed** to fit into the slice:", ""]
    lines += [
      f"- {x.variant}: "
      + ", ".join(f"`{k}={v}`" for k, v in x.changes.items())
      + f". {x.note}".rstrip()
      for x in changed
    ]
  lines += [
    "",
    "**Launch.** Words in capitals are yours; [docs/launch.md]"
    f"({'../' * (1 + len(pathlib.Path(recipes[0].folder).parts))}"
    "docs/launch.md) has the rest.",
    "",
  ]
  fitting = [x for x in recipes if _fits(records[x.name])]
  if others := [x for x in recipes if x not in fitting]:
    lines += [
      f"- {x.variant}: no command, as no plan of its step fits." for x in others
    ]
    lines.append("")
  if fitting:
    commands = itertools.chain.from_iterable(x.launch_lines() for x in fitting)
    lines += ["```bash", *commands, "```", ""]
  lines += ["**Expected**, by others; ours is not yet run:", ""]
  lines += [f"- {x.variant}: {x.expected}." for x in recipes]
  lines += ["", "**Pairs** that a run reads:", ""]
  lines += [f"- {x.variant}: {x.pairs_source}." for x in recipes]
  return lines


def _row(recipe: recipe_lib.Recipe, record: Mapping[str, Any] | None) -> str:
  cells = [recipe.variant, _slice(recipe)]
  fit = _fits_and_memory(record)
  if record is None:
    cells += [_mesh_of(recipe.changes), *fit, *[""] * 3]
  else:
    got = record["figures"]
    cells += [
      " x ".join(str(n) for n in got["mesh"].values()),
      *fit,
      _number(got["step_tflop"]),
      _number(got["images_per_s_bound"]),
      "" if got["mfu_bound"] is None else f"{got['mfu_bound']:.0%}",
    ]
  cost = f"; {recipe.cost}" if recipe.cost else ""
  cells += [
    _pairs(recipe.pairs),
    _chip_hours(record),
    f"{recipe.hardware}{cost}",
  ]
  return f"| {' | '.join(cells)} |"


def _slice(recipe: recipe_lib.Recipe) -> str:
  slices = f"{recipe.num_slices} of " if recipe.num_slices > 1 else ""
  return f"{slices}{recipe.topology}, {recipe.num_chips} chips"


def _fits(record: Mapping[str, Any] | None) -> bool:
  return record is not None and record["figures"]["fits"]


def _fits_and_memory(record: Mapping[str, Any] | None) -> tuple[str, str]:
  if record is None:
    return "not yet planned", ""
  return "yes" if _fits(record) else "**no**", _memory(record["figures"])


def _chip_hours(record: Mapping[str, Any] | None) -> str:
  return (
    "" if record is None else _number(record["figures"]["chip_hours_bound"])
  )


def _mesh_of(changes: Mapping[str, Any]) -> str:
  sizes = [changes.get(f"mesh.{x}") for x in ("data", "fsdp")]
  return "" if None in sizes else f"{sizes[0]} x {sizes[1]} x 1"


def _memory(got: Mapping[str, Any]) -> str:
  if got["memory_gib"] is None:
    return f"of {got['usable_gib']:.4g}"
  return f"{got['memory_gib']:.3g} of {got['usable_gib']:.4g}"


def _number(x: float | None) -> str:
  """Return three significant digits, all digits before the point."""
  if x is None:
    return ""
  return f"{x:.3g}" if x < 100 else f"{float(f'{x:.3g}'):,.0f}"


def _pairs(x: float) -> str:
  for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
    if x >= size:
      return f"{x / size:.3g} {unit}"
  return f"{x:.3g}"


def _placed(path: pathlib.Path, old: str | None, section: str) -> str:
  """Return a file's text with its section in place of the old one.

  The markers are the section's first and last line.
  """
  begin, *_, end = section.splitlines()
  if old is None:
    return f"# {path.parent.name}\n\n{section}\n"
  if begin not in old and end not in old:
    return f"{old.rstrip()}\n\n{section}\n"
  if old.count(begin) != 1 or old.count(end) != 1:
    raise failures.RunError(
      f"{path} must have {begin} and {end} once each; got {old.count(begin)}"
      f" and {old.count(end)}"
    )
  before, _, rest = old.partition(begin)
  _, found, after = rest.partition(end)
  if not found:
    raise failures.RunError(f"{path}: {end} must follow {begin}")
  return f"{before}{section}{after}"
