"""A command of main.py that is to run elsewhere, checked on this machine."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from runtime import failures

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Command:
  """A command.

  Attributes:
    words: flags of main.py.
    task: its --task.
    folders: flag -> folder that it writes, of --workdir and --out.
  """

  words: tuple[str, ...]
  task: str
  folders: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Trial:
  """A trial of a sweep: its number in the list and its id."""

  index: int
  id: str


def check(words: Sequence[str]) -> Command:
  """Return a command whose flags, fields and values can be used.

  Raises:
    RunError: main.py would refuse them; the message is its own.
  """
  facts = json.loads(_output("-m", "tasks.command_line", *words))
  task = facts.pop("task")
  if task == "launch":
    raise failures.RunError("the command after -- must not be --task=launch")
  folders = {flag: folder for flag, folder in facts.items() if folder}
  if facts and not folders:
    raise failures.RunError(
      f"the command after -- has no --{' or --'.join(facts)}: it must write"
      " where it can be found"
    )
  return Command(tuple(words), task, folders)


def trials_to_run(command: Command) -> list[Trial]:
  """Return the trials of a sweep that are not done.

  Raises:
    RunError: the command is no sweep, or one whose trials cannot be run apart.
  """
  if command.task != "sweep":
    raise failures.RunError(
      f"--job_per_trial needs --task=sweep after --; got --task={command.task}"
    )
  show = ("main.py", *command.words, "--dry_run", "--json")
  _output(*show, "--index=0")  # refuses what does not go with --index
  rows = json.loads(_output(*show))
  return [
    Trial(row["index"], row["id"]) for row in rows if row["state"] != "done"
  ]


def _output(*words: str) -> str:
  """Return the output of Python; RunError with its message where it fails."""
  done = subprocess.run(
    [sys.executable, *words],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    message = done.stderr.strip().removeprefix("error: ")
    raise failures.RunError(f"the command after -- cannot be run: {message}")
  return done.stdout
