"""Command line of main.py: parsed, and refused by name where it is wrong.

As a program of its own, `python -m tasks.command_line FLAGS` checks a command
and runs nothing; it prints the task and the folders that are written.
"""

import json
import sys
from collections.abc import Sequence

from absl import app, flags

import tasks
from runtime import failures
from tasks import flags as flags_lib
from tasks import sweep, task_help

_TASK = flags.DEFINE_string("task", "train", "Task to run, a key of TASKS.")


def parse(argv: Sequence[str], usage: str = "") -> Sequence[str]:
  """Parse all flags; exit with a message or help; return other words.

  Args:
    argv: command line.
    usage: text at the top of --help.
  """
  task_help.print_if_asked(argv, tasks.TASKS, usage)
  sweep.define_fields(argv)
  return failures.parse_flags(
    argv,
    flags_lib.REMOVED,
    flags_lib.parse_config,
    flags_lib.check_config,
  )


def task(words: Sequence[str]) -> str:
  """Return the task of parsed flags; UsageError for flags it does not use.

  Args:
    words: what `parse` returned.
  """
  name, others = _TASK.value, list(words[1:])
  if name == "launch" and "--" in sys.argv:
    # --task=launch reads the words after -- itself.
    others = others[: len(others) - len(sys.argv) + sys.argv.index("--") + 1]
  if others:
    raise app.UsageError(f"{others[0]!r} is not a flag; flags start with --")
  task_help.check_flags(name, tasks.TASKS)
  return name


def _main(argv: Sequence[str]) -> int:
  name = task(argv)
  if flags_lib.CONFIG.value is not None:
    flags_lib.check_config(flags_lib.CONFIG.value)
  used = {holder.name for holder in tasks.TASKS[name].FLAGS}
  written = {
    flag: flags.FLAGS[flag].value or ""
    for flag in ("workdir", "out")
    if flag in used
  }
  print(json.dumps({"task": name, **written}))
  return 0


if __name__ == "__main__":
  app.run(failures.reported(_main), flags_parser=parse)
