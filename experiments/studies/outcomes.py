"""Outcome of a study as data: results.json, made from a sweep's folder.

results.json:
  "schema"        1
  "claim", "source", "seed", "num_seeds"  fields of the study
  "figures"       its figures: "label", "name" (a list for a mean), "chance"
  "environments"  each once: "python", "versions", "commit", "hardware"
  "trials"        a row for each arm and seed, in the order of the arms:
    "arm", "seed", "changes"
    "figures"        all final figures of the trial, name -> value
    "seconds"        time of its processes
    "environments"   numbers of the environments of its starts
    "config_digest"  task -> BLAKE2b of the run's config
    "data_digest"    task -> BLAKE2b of the facts of the data that it read
"""

import hashlib
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies import claims
from experiments.sweeps import records
from experiments.sweeps import results as sweep_results
from runtime import failures
from runtime.storage import jsonl, strict_json, whole_files
from training.run import starts, workdir

JSON = "results.json"
_SCHEMA = 1
_DATA = "data_sources.json"
_DIGEST_BYTES = 8
# Problems that a message shows.
_NUM_SHOWN = 20
_FACTS = ("python", "versions", "commit", "hardware")

Outcome = dict[str, Any]


def from_sweep(study: claims.Study, root: pathlib.Path) -> Outcome:
  """Return the outcome of a study's sweep.

  Args:
    study: claim with its arms.
    root: folder of --task=sweep.

  Raises:
    RunError: the folder holds no sweep; a trial is missing, of no arm, not
      done, or lacks a figure of the study. All problems are named.
  """
  listed = _read(root / records.LIST, root)
  table = _read(root / sweep_results.JSON, root)
  rows = {row["id"]: row for row in table["trials"]}
  left = {trial["id"]: trial for trial in listed["trials"]}
  tasks = [task["name"] for task in listed["tasks"]]
  problems, trials = [], []
  environments: list[dict[str, Any]] = []
  for arm, seed, changes in study.runs():
    title = f"arm {arm.name!r}, seed {seed}"
    trial = next((x for x in left.values() if _same(x, changes)), None)
    if trial is None:
      problems.append(f"{title}: no trial of the sweep has its changes")
      continue
    del left[trial["id"]]
    row = rows.get(trial["id"], {"state": records.WAITING, "reason": ""})
    if row["state"] != records.DONE:
      reason = f": {row['reason']}" if row["reason"] else ""
      problems.append(
        f"{title}: trial {trial['id']} must be {records.DONE}; it is"
        f" {row['state']}{reason}"
      )
      continue
    lacking = [
      name
      for figure in study.figures
      for name in figure.names
      if name not in row["figures"]
    ]
    if lacking:
      problems.append(
        f"{title}: trial {trial['id']} lacks figures {', '.join(lacking)}; it"
        f" has {', '.join(row['figures'])}"
      )
      continue
    folder = root / trial["id"]
    folders = {
      name: folder / name if listed["is_chain"] else folder for name in tasks
    }
    trials.append(
      {
        "arm": arm.name,
        "seed": seed,
        "changes": dict(arm.changes),
        "figures": row["figures"],
        "seconds": row["seconds"],
        "environments": _environments(folders, environments),
        "config_digest": _digests(folders, workdir.CONFIG, "config"),
        "data_digest": _digests(folders, _DATA),
      }
    )
  problems += [
    f"trial {trial['id']} is of no arm of the study: {trial['changes']}"
    for trial in left.values()
  ]
  _refuse(f"--sweep={root}", problems)
  return {
    "schema": _SCHEMA,
    "claim": study.claim,
    "source": study.source,
    "seed": study.seed,
    "num_seeds": study.num_seeds,
    "figures": [
      {"label": x.label, "name": x.name, "chance": x.chance}
      for x in study.figures
    ],
    "environments": environments,
    "trials": trials,
  }


def write(path: pathlib.Path, outcome: Outcome) -> None:
  """Write results.json, whole or not at all."""
  text = strict_json.dumps(outcome, indent=1)
  whole_files.write(path, f"{text}\n".encode())


def read(study: claims.Study, path: pathlib.Path) -> Outcome:
  """Return the outcome in results.json, checked against the study.

  Raises:
    RunError: the file is missing or not of this schema, or its trials are not
      the study's.
  """
  outcome = read_json(
    path, f"{path} is missing; give --sweep=FOLDER of --task=sweep to write it"
  )
  schema = outcome.get("schema") if isinstance(outcome, dict) else None
  if schema != _SCHEMA:
    raise failures.RunError(f"{path} must have schema {_SCHEMA}; got {schema}")
  problems = []
  kept = {(row["arm"], row["seed"]): row for row in outcome["trials"]}
  for arm, seed, _ in study.runs():
    row = kept.pop((arm.name, seed), None)
    title = f"arm {arm.name!r}, seed {seed}"
    if row is None:
      problems.append(f"{title} is missing")
    elif row["changes"] != _plain(arm.changes):
      problems.append(f"{title} was run with other changes: {row['changes']}")
    else:
      problems += [
        f"{title} lacks figure {name}"
        for figure in study.figures
        for name in figure.names
        if row["figures"].get(name) is None
      ]
  problems += [f"arm {x!r}, seed {y} is not in the study" for x, y in kept]
  _refuse(str(path), problems)
  return outcome


def read_json(path: pathlib.Path, missing: str) -> Any:
  """Return the contents of a JSON file.

  Args:
    path: the file.
    missing: message where it is not there.

  Raises:
    RunError: it is not there, or no JSON.
  """
  try:
    return json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError) as error:
    raise failures.RunError(missing) from error
  except ValueError as error:
    raise failures.RunError(f"{path} must be JSON; {error}") from error


def values(
  outcome: Outcome, arm: claims.Arm, figure: claims.Figure
) -> dict[str, float]:
  """Return seed -> value of a figure of an arm, a mean where it is one."""
  return {
    str(row["seed"]): statistics.fmean(
      row["figures"][name] for name in figure.names
    )
    for row in outcome["trials"]
    if row["arm"] == arm.name
  }


def _same(trial: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
  # JSON has lists for tuples; 1 equals 1.0.
  return trial["changes"] == _plain(changes)


def _plain(changes: Mapping[str, Any]) -> Any:
  return json.loads(json.dumps(dict(changes)))


def _read(path: pathlib.Path, root: pathlib.Path) -> dict[str, Any]:
  return read_json(
    path,
    f"--sweep={root} must be a folder of --task=sweep; {path.name} is missing",
  )


def _refuse(origin: str, problems: Sequence[str]) -> None:
  if problems:
    shown = list(problems[:_NUM_SHOWN])
    if len(problems) > _NUM_SHOWN:
      shown.append(f"and {len(problems) - _NUM_SHOWN} more")
    raise failures.RunError(
      f"{origin} is not the whole study:\n  " + "\n  ".join(shown)
    )


def _environments(
  folders: Mapping[str, pathlib.Path], known: list[dict[str, Any]]
) -> list[int]:
  """Return the numbers of environments, new ones appended to `known`."""
  numbers = []
  for folder in folders.values():
    for line in jsonl.read(folder / starts.NAME):
      if "versions" not in line:
        continue
      facts = {name: line.get(name) for name in _FACTS}
      if facts not in known:
        known.append(facts)
      numbers.append(known.index(facts))
  return sorted(set(numbers))


def _digests(
  folders: Mapping[str, pathlib.Path], name: str, key: str = ""
) -> dict[str, str]:
  """Return task -> digest of a JSON file, or of a key in it, where it is."""
  digests = {}
  for task, folder in folders.items():
    try:
      value = json.loads((folder / name).read_text())
    except (FileNotFoundError, NotADirectoryError):
      continue
    if key and key not in value:
      continue
    text = json.dumps(value[key] if key else value, sort_keys=True)
    digests[task] = hashlib.blake2b(
      text.encode(), digest_size=_DIGEST_BYTES
    ).hexdigest()
  return digests
