"""Clients of trackers in an environment of their own, and what they stored."""

import json
import os
import pathlib
import sqlite3
import subprocess
from typing import Any

from tests import programs, runs

# .ci/run makes it: the packages of .venv, and requirements-trackers.txt.
PYTHON = runs.ROOT / ".venv-trackers" / "bin" / "python"
_READ_WANDB = """
import json, pathlib, sys
from training.trackers import wandb_tracker
files = []
for path in sorted(pathlib.Path(sys.argv[1]).glob("offline-run-*/*.wandb")):
  run = {"id": "", "config": {}, "lines": []}
  for record in wandb_tracker.records(path.read_bytes()):
    if record.HasField("run"):
      run["id"] = record.run.run_id
      for item in record.run.config.update:
        run["config"][item.key] = json.loads(item.value_json)
    if record.HasField("history"):
      run["lines"].append(wandb_tracker.line(record))
  files.append(run)
print(json.dumps(files))
"""


def need() -> None:
  """Skip or fail a test without the environment; see tests/programs.py."""
  missing = [] if PYTHON.exists() else [str(PYTHON.relative_to(runs.ROOT))]
  programs.need(missing, "requirements-trackers.txt there, as .ci/run does")


def variables(folder: pathlib.Path) -> dict[str, str]:
  """Return variables with which the clients need no network."""
  return {
    "WANDB_MODE": "offline",
    "TRACKIO_DIR": str(folder / "trackio"),
    "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    "HOME": str(folder),
  }


def wandb_runs(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Return "id", "config" and "lines" of the offline runs of a workdir."""
  done = subprocess.run(
    (PYTHON, "-c", _READ_WANDB, folder / "wandb"),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


def trackio_rows(folder: pathlib.Path, project: str) -> list[dict[str, Any]]:
  """Return the rows of a project, in their order, with "run" and "step"."""
  with sqlite3.connect(folder / "trackio" / f"{project}.db") as database:
    rows = database.execute(
      "select run_name, step, metrics from metrics order by id"
    ).fetchall()
  database.close()
  return [
    {"run": run, "step": step} | json.loads(text) for run, step, text in rows
  ]


def mlflow_points(folder: pathlib.Path) -> list[tuple[str, str, int, float]]:
  """Return (run, metric, step, value) in their order."""
  return _query(
    folder, "select run_uuid, key, step, value from metrics order by rowid"
  )


def mlflow_params(folder: pathlib.Path) -> dict[str, str]:
  """Return the parameters of all runs."""
  return dict(_query(folder, "select key, value from params"))


def _query(folder: pathlib.Path, text: str) -> list[Any]:
  if not (folder / "mlflow.db").exists():
    return []
  database = sqlite3.connect(folder / "mlflow.db", timeout=30)
  try:
    return database.execute(text).fetchall()
  except sqlite3.OperationalError:  # it is being made
    return []
  finally:
    database.close()


def below(pid: int) -> list[int]:
  """Return the processes that a process started, and theirs."""
  parents = {}
  for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
      fields = path.read_text().rpartition(")")[2].split()
    except OSError:  # it ended
      continue
    parents[int(path.parent.name)] = int(fields[1])
  children = [child for child, parent in parents.items() if parent == pid]
  return children + [x for child in children for x in below(child)]


def is_running(pid: int) -> bool:
  """Return whether a process runs; a zombie does not."""
  try:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  return text.rpartition(")")[2].split()[0] != "Z" and os.getpid() != pid
