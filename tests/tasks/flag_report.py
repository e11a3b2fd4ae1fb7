"""Print the flags, help and refusals of all tasks as JSON.

A process of its own, as other tests' modules define flags of the same names.
"""

import contextlib
import io
import json

from absl import app, flags

import tasks
from tasks import task_help


def _help(*args: str) -> str:
  out = io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
    task_help.print_if_asked(["main.py", *args], tasks.TASKS, "")
  return out.getvalue()


def _refusal(task: str, flag: str) -> str:
  flags.FLAGS[flag].present = 1
  try:
    task_help.check_flags(task, tasks.TASKS)
  except app.UsageError as error:
    return str(error)
  finally:
    flags.FLAGS[flag].present = 0
  return ""


def main() -> None:
  """Print {task: {"flags", "help", "help_before", "refusals"}}."""
  flags.DEFINE_string("task", "train", "")
  flags.FLAGS.mark_as_parsed()
  names = {f.name for task in tasks.TASKS.values() for f in task.FLAGS}
  report = {
    name: {
      "flags": [flag.name for flag in task.FLAGS],
      "help": _help(f"--task={name}", "--help"),
      "help_before": _help("--help", "--task", name),
      "refusals": {flag: _refusal(name, flag) for flag in sorted(names)},
    }
    for name, task in tasks.TASKS.items()
  }
  print(json.dumps(report))


if __name__ == "__main__":
  main()
