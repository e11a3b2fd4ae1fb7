"""Table of a sweep's trials: ROOT/results.json and ROOT/results.md."""

import pathlib
from collections.abc import Sequence
from typing import Any

from experiments.sweeps import records
from experiments.sweeps import trials as trials_lib
from runtime.storage import objects, strict_json, whole_files
from training.comparison import figures as figures_lib

JSON = "results.json"
MARKDOWN = "results.md"
_MOST_FIGURES = 8


def write(
  root: pathlib.Path, trials: Sequence[trials_lib.Trial], base: trials_lib.Base
) -> dict[str, Any]:
  """Write both files, each whole or not at all; return the contents.

  Returns:
    "trials": a row each with "id", "state", "reason", "seconds", "fields" that
    differ between trials, and final "figures"; "groups": rows over seeds.
  """
  rows = [_row(root, trial, base) for trial in trials]
  varied = [
    field
    for field in dict.fromkeys(field for row in rows for field in row["fields"])
    if len({trials_lib.text_of(row["fields"].get(field)) for row in rows}) > 1
    or len(rows) == 1
  ]
  for row in rows:
    row["fields"] = {k: row["fields"][k] for k in varied if k in row["fields"]}
  seeds = [field for field in varied if _is_seed(field)]
  results = {
    "trials": rows,
    "groups": figures_lib.grouped(
      [row for row in rows if row["figures"]], seeds
    ),
  }
  for group in results["groups"]:
    numbered = [row for row in rows if row["figures"]]
    group["members"] = [numbered[i]["id"] for i in group["members"]]
  text = strict_json.dumps(results, indent=2)
  try:
    whole_files.write(root / JSON, f"{text}\n".encode())
    whole_files.write(root / MARKDOWN, table(results).encode())
  except objects.ConflictError:  # a sweep beside this one wrote them just now
    return write(root, trials, base)
  return results


def table(results: dict[str, Any]) -> str:
  """Return the results as Markdown."""
  rows = results["trials"]
  fields = list(dict.fromkeys(k for row in rows for k in row["fields"]))
  names = list(dict.fromkeys(k for row in rows for k in row["figures"]))
  names = figures_lib.headlines(names, _MOST_FIGURES)
  text = figures_lib.markdown(
    ["trial", "state", *fields, *names, "minutes"],
    [
      [
        row["id"],
        row["state"],
        *(_text(row["fields"], field) for field in fields),
        *(figures_lib.number(row["figures"].get(name)) for name in names),
        f"{row['seconds'] / 60:.1f}",
      ]
      for row in rows
    ],
  )
  seeds = [field for field in fields if _is_seed(field)]
  if seeds and results["groups"]:
    kept = [field for field in fields if field not in seeds]
    text += "\n\nMean ± standard deviation (n) over seeds:\n\n"
    text += figures_lib.markdown(
      [*kept, *names],
      [
        [
          *(_text(group["fields"], field) for field in kept),
          *(figures_lib.shown(group["figures"].get(name)) for name in names),
        ]
        for group in results["groups"]
      ],
    )
  reasons = [
    f"- {row['id']} {row['state']}: {row['reason']}"
    for row in rows
    if row["reason"]
  ]
  if reasons:
    text += "\n\n" + "\n".join(reasons)
  return text + "\n"


def figures(
  root: pathlib.Path, trial: trials_lib.Trial, base: trials_lib.Base
) -> dict[str, float]:
  """Return a trial's final figures; in a chain, "TASK/NAME"."""
  listed: dict[str, float] = {}
  for task in base.chain:
    prefix = f"{task.name}/" if base.is_chain else ""
    read = figures_lib.read(base.folder(root, trial, task.name))
    listed |= {prefix + name: value for name, value in read.items()}
  return listed


def _row(
  root: pathlib.Path, trial: trials_lib.Trial, base: trials_lib.Base
) -> dict[str, Any]:
  record = records.read(root, trial.id)
  return {
    "id": trial.id,
    "state": record["state"],
    "reason": record.get("reason", ""),
    "seconds": round(record.get("seconds", 0.0), 1),
    "fields": dict(trial.changes),
    "figures": figures(root, trial, base),
  }


def _text(fields: dict[str, Any], field: str) -> str:
  return trials_lib.text_of(fields[field]) if field in fields else ""


def _is_seed(field: str) -> bool:
  return field.rpartition(".")[2] == figures_lib.SEED
