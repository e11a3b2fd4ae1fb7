"""manifest.json: inputs, recipe and counts of a curation; see docs/curation.md.

Two curations of the same pool by the same recipe have the same manifest, apart
from the fields that `comparable` leaves out.
"""

import dataclasses
import hashlib
import json
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from curation import operators, recipe, rules
from curation import pool as pool_lib
from curation.engine import shard_file
from curation.engine import stages as stages_lib
from runtime import provenance
from runtime.storage import strict_json, whole_files

NAME = "manifest.json"
# Libraries whose versions are recorded beside those of all results.
_LIBRARIES = ("pyarrow", "pillow", "ray")
# Fields that differ between two runs of the same curation.
_OF_A_RUN = ("run", "failures", "versions", "python", "commit")


def make(
  recipe_: recipe.Recipe,
  pool: pool_lib.Pool,
  stages: Sequence[stages_lib.Stage],
  tallies: Sequence[shard_file.Tally],
  inputs: Mapping[str, tuple[int, str]],
  facts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """Return the manifest without the fields of the selection and of the run.

  Args:
    recipe_: recipe of the curation.
    pool: pool of the curation.
    stages: all stages.
    tallies: counts of each stage, summed over all shards.
    inputs: shard -> number of its pairs and their SHA-256.
    facts: reduction -> facts that it returned.
  """
  total = shard_file.Tally()
  for tally in tallies:
    total.add(tally)
  num_pairs = tallies[0].rows
  num_unreadable = sum(total.faults.values())
  left_out = stages[-1].left_out
  return {
    "key": stages[-1].result_key,
    "recipe": _recipe(recipe_),
    "num_pairs": num_pairs,
    "read": {
      "in": num_pairs,
      "kept": num_pairs - num_unreadable,
      "dropped": dict(sorted(total.faults.items())),
    },
    "steps": [
      {
        "name": name,
        "op": op_of(step),
        "version": step.version,
        "parameters": _parameters(step),
        "files": {path: file_digest(path) for path in step.files()},
        "in": total.counts[name][0],
        "kept": total.counts[name][1],
        "faults": dict(sorted(total.step_faults.get(name, {}).items())),
        "seconds": round(total.seconds.get(name, 0.0), 3),
        "facts": facts.get(name, {}),
      }
      for name, step in recipe_.steps.items()
    ],
    "left_out": [
      {"shard": shard.name, "path": shard.path}
      for shard in pool.shards
      if shard.name in set(left_out)
    ],
    "inputs": _inputs(pool, inputs),
    "versions": provenance.versions(*_LIBRARIES),
    "python": platform.python_version(),
    "commit": provenance.commit(),
  }


def comparable(manifest: Mapping[str, Any]) -> dict[str, Any]:
  """Return the fields that are equal for any engine, time and machine."""
  fields = {k: v for k, v in manifest.items() if k not in _OF_A_RUN}
  fields["steps"] = [
    {k: v for k, v in step.items() if k != "seconds"}
    for step in manifest["steps"]
  ]
  return fields


def read(workdir: pathlib.Path) -> dict[str, Any] | None:
  """Return the manifest of a folder; None without a readable one."""
  try:
    return json.loads((workdir / NAME).read_bytes())
  except (OSError, ValueError):
    return None


def write(workdir: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Write a folder's manifest."""
  text = strict_json.dumps(manifest, indent=2)
  whole_files.write(workdir / NAME, text.encode() + b"\n")


def op_of(step: operators.Operator) -> str:
  """Return the name of an operator in recipes."""
  for name, operator in rules.OPERATORS.items():
    if type(step) is operator:
      return name
  return type(step).__name__


def file_digest(path: str) -> str:
  """Return the SHA-256 of a file, or of a folder's files; "" if it is remote.

  The digest of a folder is that of the lines "DIGEST  NAME" of its files, as
  sha256sum writes them, sorted by name.
  """
  root = pathlib.Path(path)
  if not root.exists():
    return ""
  if root.is_dir():
    files = sorted(file for file in root.rglob("*") if file.is_file())
    lines = [
      f"{file_digest(str(file))}  {file.relative_to(root)}\n" for file in files
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
  with open(root, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _recipe(recipe_: recipe.Recipe) -> dict[str, Any]:
  return {
    "pool": dataclasses.asdict(recipe_.pool),
    "max_failed_shards": recipe_.max_failed_shards,
    "order": list(recipe_.steps),
    "steps": {
      name: {"op": op_of(step)} | _parameters(step)
      for name, step in recipe_.steps.items()
    },
  }


def _parameters(step: operators.Operator) -> dict[str, Any]:
  # Any: all operators are dataclasses, for which there is no common type.
  fields: Any = step
  return dataclasses.asdict(fields)


def _inputs(
  pool: pool_lib.Pool, inputs: Mapping[str, tuple[int, str]]
) -> dict[str, Any]:
  """Return digests of the UIDs and texts of all shards: content_digest.py."""
  shards = []
  for shard in sorted(pool.shards, key=lambda shard: shard.name):
    rows, digest = inputs.get(shard.name, (0, ""))
    shards.append(
      {
        "shard": shard.name,
        "path": shard.path,
        "version": shard.version,
        "rows": rows,
        "sha256": digest,
      }
    )
  whole = "".join(f"{x['shard']} {x['sha256']}\n" for x in shards)
  return {
    "sha256": hashlib.sha256(whole.encode()).hexdigest(),
    "shards": shards,
  }
