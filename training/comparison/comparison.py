"""Comparison of runs: JSON, CSV, Markdown, and a page for a colleague."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.storage import bucket_path, strict_json, whole_files
from training import metrics
from training.comparison import comparison_page, paired_seeds
from training.comparison import figures as figures_lib
from training.comparison import runs as runs_lib
from training.run import starts

JSON = "comparison.json"
CSV = "runs.csv"
MARKDOWN = "comparison.md"
PAGE = "comparison.html"
_MOST_FIGURES = 8


def run(
  patterns: Sequence[str], *, figure: str = "", out: str = "", as_json: bool
) -> int:
  """Compare runs; print the tables, and write them to --out with a page.

  Args:
    patterns: patterns of the runs' folders.
    figure: figure that ranks the groups; "" for the first one that runs have.
    out: folder to write to; "" writes no file.
    as_json: print JSON instead of tables.

  Raises:
    ValueError: no run, a file that cannot be read, or a figure that no run has.
  """
  runs = runs_lib.read(runs_lib.find(patterns))
  compared = compare(runs, figure)
  text = strict_json.dumps(compared, indent=2)
  tables = markdown(compared)
  if out:
    folder = bucket_path.make(out)
    folder.mkdir(parents=True, exist_ok=True)
    page = comparison_page.render(runs, compared)
    for name, content in (
      (JSON, f"{text}\n"),
      (CSV, _csv(compared)),
      (MARKDOWN, tables),
      (PAGE, page),
    ):
      whole_files.write(folder / name, content.encode())
  print(text if as_json else tables)
  if out:
    metrics.say(f"Page: {bucket_path.make(out) / PAGE}")
  return 0


def compare(runs: Sequence[runs_lib.Run], figure: str = "") -> dict[str, Any]:
  """Return runs and groups of runs that differ in their seeds alone.

  A run that is not complete is in no group, unless none is complete.

  Returns:
    "figure" and whether it "rises"; names of "fields" that differ and of
    "figures", those of tables first; "runs", a row each; "groups" over seeds,
    best first, each with its paired "difference" from the best one.

  Raises:
    ValueError: no run has the figure.
  """
  fields = runs_lib.differing(runs)
  names = list(dict.fromkeys(name for x in runs for name in x.figures))
  names = figures_lib.headlines(names, len(names))
  if figure and figure not in names:
    raise ValueError(
      f"--figure must be one of {', '.join(names) or 'none'}; got {figure!r}"
    )
  figure = figure or (names[0] if names else "")
  rises = figures_lib.rises(figure)
  rows = [_row(x, fields) for x in runs]
  grouped = [row for row in rows if row["is_complete"]] or rows
  groups = figures_lib.grouped(grouped)
  for group in groups:
    members = [grouped[i] for i in group["members"]]
    group["members"] = [row["name"] for row in members]
    group["by_seed"] = {
      str(row["seed"]): row["figures"][figure]
      for row in members
      if figure in row["figures"]
    }
  groups.sort(key=lambda group: _rank(group, figure, rises))
  by_seed = [group.pop("by_seed") for group in groups]
  for group, mine in zip(groups, by_seed, strict=True):
    is_best = group is groups[0]
    group["difference"] = (
      None if is_best else paired_seeds.compare(by_seed[0], mine)
    )
  return {
    "figure": figure,
    "rises": rises,
    "fields": [name for name in fields if name != figures_lib.SEED],
    "figures": names,
    "runs": rows,
    "groups": groups,
  }


def markdown(compared: Mapping[str, Any]) -> str:
  """Return the tables as Markdown: groups, then runs."""
  fields, names = compared["fields"], compared["figures"]
  shown = shown_figures(compared)
  figure = compared["figure"]
  text = f"Groups by {figure}, best first: mean ± standard deviation (n).\n\n"
  text += figures_lib.markdown(
    [*fields, *shown, f"{figure} - best", "p (paired t)"],
    [
      [
        *(value(group["fields"], name) for name in fields),
        *(figures_lib.shown(group["figures"].get(name)) for name in shown),
        *difference(group),
      ]
      for group in compared["groups"]
    ],
  )
  text += "\n\nRuns.\n\n" + figures_lib.markdown(
    ["run", "seed", *fields, *shown, "steps", "hours", "wall hours", "kWh"],
    [
      [
        row["name"] + ("" if row["is_complete"] else " (not complete)"),
        row["seed"],
        *(value(row["fields"], name) for name in fields),
        *(figures_lib.number(row["figures"].get(name)) for name in shown),
        row["step"],
        figures_lib.number(row["hours"]),
        figures_lib.number(row["wall_hours"]),
        starts.shown_kwh(row["kwh"]),
      ]
      for row in compared["runs"]
    ],
  )
  more = len(names) - len(shown)
  if more:
    text += f"\n\n{CSV} and {JSON} have {more} more figures."
  return text + "\n"


def shown_figures(compared: Mapping[str, Any]) -> list[str]:
  """Return the names of figures in tables, that of --figure first."""
  figure = compared["figure"]
  names = [name for name in compared["figures"] if name != figure]
  first = [figure] if figure else []
  return first + figures_lib.headlines(names, _MOST_FIGURES - len(first))


def value(fields: Mapping[str, Any], name: str) -> str:
  """Return a field's value in a table, "" where a run does not have it."""
  if name not in fields:
    return ""
  return str(fields[name]) if fields[name] != "" else '""'


def difference(group: Mapping[str, Any]) -> tuple[str, str]:
  """Return a group's difference from the best one, and its p-value."""
  test = group["difference"]
  if test is None:
    return "", ""
  low, high = test["interval"]
  text = f"{test['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
  return text, figures_lib.p_value(test["p"])


def _row(run_: runs_lib.Run, fields: Sequence[str]) -> dict[str, Any]:
  hours = float(run_.hours([run_.step])[0]) if run_.step else math.nan
  cost = run_.cost
  return {
    "name": run_.name,
    "seed": run_.fields.get(figures_lib.SEED),
    "is_complete": run_.is_complete,
    "step": run_.step,
    "samples": run_.step * run_.fields["batch_size"],
    "gflop": run_.step * run_.gflop,
    "hours": hours if math.isfinite(hours) else None,
    "wall_hours": cost.seconds / 3600 if cost else None,
    "starts": cost.num_starts if cost else None,
    "kwh": cost.kwh if cost else None,
    "commit": run_.commit,
    "fields": {k: run_.fields[k] for k in fields if k in run_.fields},
    "figures": dict(run_.figures),
  }


def _rank(group: Mapping[str, Any], figure: str, rises: bool) -> float:
  spread = group["figures"].get(figure)
  if spread is None:
    return math.inf
  return -spread["mean"] if rises else spread["mean"]


def _csv(compared: Mapping[str, Any]) -> str:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator="\n")
  fixed = ("name", "seed", "is_complete", "step", "samples", "gflop", "hours")
  fixed += ("wall_hours", "starts", "kwh", "commit")
  fields, names = compared["fields"], compared["figures"]
  writer.writerow([*fixed, *fields, *names])
  for row in compared["runs"]:
    writer.writerow(
      [
        *(row[name] for name in fixed),
        *(
          json.dumps(row["fields"][name])
          if isinstance(row["fields"].get(name), list | dict)
          else row["fields"].get(name)
          for name in fields
        ),
        *(row["figures"].get(name) for name in names),
      ]
    )
  return buffer.getvalue()
