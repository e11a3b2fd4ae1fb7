"""SkyPilot tasks: filled in, shown, and handed over to SkyPilot's Python."""

import datetime
import json
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from experiments.launching import command as command_lib
from runtime import failures, provenance
from runtime.storage import bucket_path

_PROGRAM = pathlib.Path(__file__).with_name("sky_program.py")
# Clouds of SkyPilot whose disks outlive the task.
_SHARED = ("slurm", "kubernetes", "k8s", "ssh")
# Tasks that were started, and changes to their commit; git ignores runs/.
_RECORDS = command_lib.ROOT / "runs" / "launched"
Task = dict[str, Any]


def read(path: str, text: str) -> Task:
  """Return a task of a file.

  Raises:
    RunError: the file is no SkyPilot task that takes FLAGS.
  """
  try:
    documents = [*yaml.safe_load_all(text)]
  except yaml.YAMLError as error:
    lines = " ".join(str(error).split())
    raise failures.RunError(f"--on={path} is not YAML: {lines}") from error
  task = documents[0] if documents else None
  if isinstance(task, dict) and "apiVersion" in task:
    raise failures.RunError(
      f"--on={path} is for Kubernetes itself: fill in its FLAGS, then kubectl"
      f" apply -f {path}"
    )
  if (
    len(documents) != 1
    or not isinstance(task, dict)
    or not isinstance(task.get("envs"), dict)
    or "FLAGS" not in task["envs"]
  ):
    raise failures.RunError(
      f"--on={path} must be one SkyPilot task with an env FLAGS, which its run"
      " gives to main.py, as launch/tpu-vm.yaml has"
    )
  return task


def check_folders(path: str, task: Task, command: command_lib.Command) -> None:
  """Raise RunError where the command writes to a disk that is deleted.

  Args:
    path: file of the task, for the message.
    task: its contents.
    command: checked command.
  """
  places = _infra(task)
  is_shared = bool(places) and all(x.startswith(_SHARED) for x in places)
  for flag, folder in command.folders.items():
    is_kept = is_shared and folder.startswith("/")
    if not (is_kept or bucket_path.is_bucket(folder)):
      other = ", or an absolute path of a disk they share" if is_shared else ""
      raise failures.RunError(
        f"--{flag} must be in a bucket (gs://BUCKET/PATH, s3://BUCKET/PATH"
        f"{other}) on {path}, whose machines are deleted; got {folder}"
      )


def fill(
  task: Task,
  command: command_lib.Command,
  trials: Sequence[command_lib.Trial] | None,
) -> list[Task]:
  """Return the task with command, commit and name, once for each trial."""
  folder = next(iter(command.folders.values()), command.task)
  names = [task.get("name") or "diptych", pathlib.PurePath(folder).name]
  commit = provenance.commit()
  filled = []
  for trial in trials or [None]:
    own = [] if trial is None else [f"--index={trial.index}"]
    # Names of clusters: letters, digits and "-".
    parts = [*names, *([] if trial is None else [trial.id])]
    one = {
      **task,
      "name": re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-"),
      "envs": {
        **task["envs"],
        "FLAGS": shlex.join([*command.words, *own]),
        provenance.COMMIT: commit,
      },
    }
    if one.get("workdir") == ".":
      one["workdir"] = str(command_lib.ROOT)
    filled.append(one)
  return filled


def run(tasks: Sequence[Task], *, python: str, dry_run: bool) -> int:
  """Show the tasks and start them with SkyPilot; return the exit code.

  Args:
    tasks: filled tasks.
    python: Python of the environment that has SkyPilot.
    dry_run: whether SkyPilot only checks them.
  """
  print("---\n".join(_text(task) for task in tasks), end="", flush=True)
  if tasks[0].get("workdir") == str(command_lib.ROOT):
    _warn_of_changes()
  interpreter = command_lib.ROOT / python
  if not interpreter.exists():
    message = (
      f"--sky_python={python} is not there; SkyPilot has an environment of its"
      " own: python3 -m venv .venv-launch && .venv-launch/bin/pip install -r"
      " requirements-launch.txt 'skypilot[gcp]' (gcp: your cloud)"
    )
    if not dry_run:
      raise failures.RunError(message)
    print(f"not checked by SkyPilot: {message}", file=sys.stderr)
    return 0
  if not dry_run:
    _record(tasks)
  return subprocess.run(
    [interpreter, _PROGRAM, "check" if dry_run else "launch"],
    input=json.dumps(tasks),
    text=True,
    check=False,
  ).returncode


def _infra(task: Task) -> list[str]:
  """Return the places that a task may run at; empty for any."""
  resources = task.get("resources") or {}
  options = [
    *(resources.get("any_of") or ()),
    *(resources.get("ordered") or ()),
  ]
  merged = [{**resources, **option} for option in options] or [resources]
  places = [x.get("infra") or x.get("cloud") or "" for x in merged]
  return [str(place).lower() for place in places]


class _Dumper(yaml.SafeDumper):
  """Writes texts of several lines as such."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
  style = "|" if "\n" in text else None
  return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def _text(task: Task) -> str:
  return yaml.dump(task, Dumper=_Dumper, sort_keys=False, width=1000)


def _warn_of_changes() -> None:
  done = subprocess.run(
    ["git", "status", "--porcelain"],
    cwd=command_lib.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  if changed := done.stdout.splitlines():
    print(
      f"warning: {len(changed)} files differ from the commit, or are not in it;"
      " they are uploaded as they are",
      file=sys.stderr,
      flush=True,
    )


def _record(tasks: Sequence[Task]) -> None:
  """Keep the tasks, and what differs from their commit, on this machine."""
  now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
  folder = _RECORDS / f"{now}-{tasks[0]['name']}"
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "task.yaml").write_text("---\n".join(map(_text, tasks)))
  if diff := provenance.code().diff:
    (folder / "changes.diff").write_bytes(diff)
  print(f"recorded in {folder}", file=sys.stderr, flush=True)
