"""State of a sweep's trials, as their own folders have it.

ROOT/trials.json  resolved list, written before anything runs
ROOT/ID/trial.json  changes, commands, state and reason of a trial
ROOT/ID/log.txt  output of its processes
ROOT/.claims/ID  claim of the trial, which lasts where the sweep is killed and
  the trial's process goes on
"""

import contextlib
import datetime
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.sweeps import trials as trials_lib
from runtime import failures
from runtime.storage import (
  objects,
  segments,
  strict_json,
  unfinished,
  whole_files,
)

LIST = "trials.json"
RECORD = "trial.json"
LOG = "log.txt"
CLAIMS = ".claims"
# Stands for the sweep's folder, which may be moved, in records of what is done.
ROOT = pathlib.Path("ROOT")

WAITING = "waiting"  # nothing was started
RUNNING = "running"
DONE = "done"
FAILED = "failed"
INTERRUPTED = "interrupted"  # its process ended with the sweep, or a kill
PAUSED = "paused"  # at a rung of successive halving
STOPPED = "stopped early"  # by successive halving
_TAIL_BYTES = 8192


def read(root: pathlib.Path, trial_id: str) -> dict[str, Any]:
  """Return a trial's record; {"state": WAITING} where there is none."""
  try:
    return json.loads((root / trial_id / RECORD).read_text())
  except (FileNotFoundError, NotADirectoryError):
    return {"state": WAITING}
  except ValueError as error:
    path = root / trial_id / RECORD
    raise failures.RunError(f"{path} must be JSON; {error}") from error


def write(
  root: pathlib.Path, trial: trials_lib.Trial, **fields: Any
) -> dict[str, Any]:
  """Write a trial's record with these fields changed; return it."""
  record = read(root, trial.id) | {"id": trial.id, "changes": trial.changes}
  record |= fields | {"time": now()}
  text = strict_json.dumps(record, indent=2)
  (root / trial.id).mkdir(parents=True, exist_ok=True)
  try:
    whole_files.write(root / trial.id / RECORD, f"{text}\n".encode())
  except objects.ConflictError:  # another sweep compared at the same rung
    return write(root, trial, **fields)
  return record


def is_done(record: Mapping[str, Any], commands: Mapping[str, Any]) -> bool:
  """Return whether a trial has nothing left to do for these commands."""
  return record["state"] == DONE and record.get("finished") == commands


@contextlib.contextmanager
def claim(
  root: pathlib.Path, trial: trials_lib.Trial, base: trials_lib.Base
) -> Iterator[tuple[int, ...] | None]:
  """Claim a trial; None where another sweep, or what it started, has it.

  Yields files that its processes inherit; see unfinished.shared.
  """
  folder, inside, process = _claims(root, trial, base)
  with unfinished.shared(folder, f"trial {trial.id}", inside, process) as files:
    yield files


def state(
  root: pathlib.Path, trial: trials_lib.Trial, base: trials_lib.Base
) -> str:
  """Return the state of a trial that this process has not claimed."""
  name = read(root, trial.id)["state"]
  if unfinished.is_shared(*_claims(root, trial, base)):
    return RUNNING
  return INTERRUPTED if name == RUNNING else name


def _claims(
  root: pathlib.Path, trial: trials_lib.Trial, base: trials_lib.Base
) -> tuple[pathlib.Path, list[pathlib.Path], dict[str, Any] | None]:
  """Return a trial's claim, its tasks' folders, and its last process."""
  folders = [base.folder(root, trial, task.name) for task in base.chain]
  return root / CLAIMS / trial.id, folders, read(root, trial.id).get("process")


def write_list(
  root: pathlib.Path, trials: Sequence[trials_lib.Trial], base: trials_lib.Base
) -> None:
  """Write the resolved list of trials.

  Raises:
    RunError: the folder holds a sweep of other flags, or cannot be written.
  """
  tasks = [{"name": t.name, "flags": list(t.flags)} for t in base.chain]
  key = {"tasks": tasks, "is_chain": base.is_chain}
  path = root / LIST
  if path.exists():
    was, now = (_flags_by_name(k) for k in (json.loads(path.read_text()), key))
    changed = [
      unfinished.change(name, was.get(name), now.get(name))
      for name in {**was, **now}
      if was.get(name) != now.get(name)
      and not base.may_change(name.rpartition("--config.")[2])
    ]
    if changed:
      raise unfinished.other_key(
        f"--workdir={root}",
        "a sweep with other flags; give the same ones to go on",
        changed,
      )
  listed = [
    {"index": index, "id": t.id, "changes": t.changes, "steps": t.steps}
    for index, t in enumerate(trials)
  ]
  try:
    root.mkdir(parents=True, exist_ok=True)
    text = strict_json.dumps(key | {"trials": listed}, indent=2)
    whole_files.write(path, f"{text}\n".encode())
  except OSError as error:
    raise unfinished.unwritable(f"--workdir={root}", error) from error


def reason(log: pathlib.Path, code: int) -> str:
  """Return why a process ended: its error in the log, or its exit code."""
  how = f"signal {-code}" if code < 0 else f"exit code {code}"
  if code == -9:
    how += " (SIGKILL mostly means that memory ran out)"
  lines = [line.strip() for line in tail(log).splitlines() if line.strip()]
  errors = [line for line in lines if line.startswith("error: ")]
  last = errors[-1].removeprefix("error: ") if errors else "".join(lines[-1:])
  return f"{how}: {last}" if last and code >= 0 else how


def tail(path: pathlib.Path) -> str:
  """Return the last lines of a file, "" where there is none."""
  try:
    return segments.tail(path, _TAIL_BYTES).decode(errors="replace")
  except FileNotFoundError:
    return ""


def last_step(metrics: pathlib.Path) -> int:
  """Return the step of the last whole line of a run's metrics, 0 for none."""
  for line in reversed(tail(metrics).split("\n")[:-1]):
    with contextlib.suppress(ValueError, KeyError, TypeError):
      return json.loads(line)["step"]
  return 0


def _flags_by_name(key: Mapping[str, Any]) -> dict[str, Any]:
  named: dict[str, Any] = {}
  for task in key["tasks"]:
    for word in task["flags"]:
      name, _, value = word.partition("=")
      named[f"{task['name']} {name}" if key["is_chain"] else name] = value
  return named


def now() -> str:
  """Return the time as records have it."""
  return datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")
