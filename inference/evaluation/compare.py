"""Paired comparison of two models on the sets that both were evaluated on."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from evaluators.metrics import paired
from inference.evaluation import evaluate_sets, item_files
from runtime.storage import bucket_path, strict_json, whole_files
from training import metrics

COMPARISON = "comparison.json"
# Letters of two values that a message about protocols shows.
_MAX_SHOWN = 60


def run(
  first: str, second: str, *, out: str = "", as_json: bool = False
) -> int:
  """Compare two folders of --task=evaluate; print differences and tests.

  Args:
    first: folder of model a.
    second: folder of model b; differences are b - a.
    out: folder to write comparison.json to; "" writes no file.
    as_json: print JSON instead of a table.

  Raises:
    ValueError: a folder has no results, the two share no set, or a set's data
      differ; the message names folder and set.
  """
  folders = [bucket_path.make(path) for path in (first, second)]
  results = [_read(folder) for folder in folders]
  names = [name for name in results[0] if name in results[1]]
  if not names:
    raise ValueError(
      f"{first} and {second} have no set in common: {', '.join(results[0])};"
      f" {', '.join(results[1])}"
    )
  for folder, mine in zip(folders, results, strict=True):
    if alone := [name for name in mine if name not in names]:
      metrics.say(f"only in {folder}: {', '.join(alone)}")
  compared: dict[str, Any] = {}
  for name in names:
    _check_alike(name, folders, [mine[name] for mine in results])
    a, b = (
      item_files.read(folder / "items" / f"{name.replace('/', '-')}.npz")
      for folder in folders
    )
    compared[name] = {
      figure: paired.compare(
        paired.Items(first, a[figure].keys, a[figure].value_Q),
        paired.Items(second, b[figure].keys, b[figure].value_Q),
        clusters=_listed(a[figure].cluster_Q),
        strata=_listed(a[figure].stratum_Q),
      )
      for figure in a
      if figure in b
    }
  text = strict_json.dumps(
    {"a": first, "b": second, "sets": compared}, indent=2
  )
  if out:
    folder = bucket_path.make(out)
    folder.mkdir(parents=True, exist_ok=True)
    whole_files.write(folder / COMPARISON, f"{text}\n".encode())
  print(text if as_json else table(compared))
  return 0


def table(compared: Mapping[str, Any]) -> str:
  """Return differences, their intervals and p-values as Markdown."""
  lines = [
    "| set | figure | a | b | b - a | 95 % interval | p (McNemar, mid-p) |",
    "|---|---|---|---|---|---|---|",
  ]
  for name, figures in compared.items():
    for figure, row in figures.items():
      low, high = row["interval"]
      p = f"{row['p_mid']:.4f}" if "p_mid" in row else ""
      lines.append(
        f"| {name} | {figure} | {row['a']:.3f} | {row['b']:.3f} |"
        f" {row['difference']:+.3f} | {low:+.3f} to {high:+.3f} | {p} |"
      )
  return "\n".join(lines)


def _read(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / evaluate_sets.RESULTS
  try:
    results = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise ValueError(
      f"--results={folder} has no {evaluate_sets.RESULTS} of --task=evaluate"
      f" with --suite or --sets: {error}"
    ) from error
  return {
    name: record
    for name, record in results.items()
    if isinstance(record, Mapping) and "kind" in record
  }


def _check_alike(
  name: str, folders: list[pathlib.Path], records: list[Mapping[str, Any]]
) -> None:
  """Refuse other data; say where the protocols differ."""
  protocols = [record["protocol"] for record in records]
  a, b = protocols
  if a["data_digest"] != b["data_digest"]:
    raise ValueError(
      f"{name} has other data in {folders[0]} (digest {a['data_digest'][:12]},"
      f" {a['num_examples']} examples) than in {folders[1]}"
      f" ({b['data_digest'][:12]}, {b['num_examples']})"
    )
  differing = [
    field + _differing(a.get(field), b.get(field))
    for field in {**a, **b}
    if a.get(field) != b.get(field)
  ]
  if differing:
    metrics.say(f"{name}: the protocols differ in {', '.join(differing)}")


def _differing(a: Any, b: Any) -> str:
  """Return both values of a field for a message, "" for long ones."""
  shown = f" ({a}, {b})"
  return shown if len(shown) <= _MAX_SHOWN else ""


def _listed(values: Any) -> list[int] | None:
  return None if values is None else values.tolist()
