"""Help of main.py by task, and the refusal of flags that a task ignores."""

import inspect
import itertools
import sys
import textwrap
import types
from collections.abc import Mapping, Sequence

from absl import app, flags

_ASKING = ("--help", "-help", "-h", "--h", "-?")
_DEFAULT_TASK = "train"


def print_if_asked(
  argv: Sequence[str], tasks: Mapping[str, types.ModuleType], usage: str
) -> None:
  """Print help and exit where a flag asks for it.

  With --task, its flags and their defaults; without, a line for each task.
  Not a flag of absl: absl's own help lists flags of all imported libraries
  (still to be had as --helpfull).

  Args:
    argv: the program's arguments.
    tasks: task name -> module with a docstring and FLAGS.
    usage: text above the list of tasks.
  """
  # Words after -- are a command that --task=launch starts.
  argv = list(itertools.takewhile(lambda word: word != "--", argv))
  if not any(arg in _ASKING for arg in argv):
    return
  name = _task_of(argv)
  if name is None:
    print(_overview(tasks, usage))
  elif name in tasks:
    print(_help_of(name, tasks[name]))
  else:
    sys.exit(f"error: {_unknown(name, tasks)}")
  sys.exit(0)


def _check_task(name: str, tasks: Mapping[str, types.ModuleType]) -> None:
  """Raise UsageError for a --task that does not exist."""
  if name not in tasks:
    raise app.UsageError(_unknown(name, tasks))


def check_flags(name: str, tasks: Mapping[str, types.ModuleType]) -> None:
  """Raise UsageError for an unknown task, or a flag that it does not use."""
  _check_task(name, tasks)
  used = {holder.name for holder in tasks[name].FLAGS}
  users: dict[str, list[str]] = {}
  for task, module in tasks.items():
    for holder in module.FLAGS:
      users.setdefault(holder.name, []).append(task)
  for flag, names in users.items():
    if flag not in used and flags.FLAGS[flag].present:
      default = "" if flags.FLAGS["task"].present else ", the default"
      raise app.UsageError(
        f"--{flag} is not used by --task={name}{default}; it is a flag of"
        f" --task={', '.join(names)}"
        + ("; put -- before the command to launch" if name == "launch" else "")
      )


def _unknown(name: str, tasks: Mapping[str, types.ModuleType]) -> str:
  return f"--task must be one of {', '.join(tasks)}; got {name!r}"


def _task_of(argv: Sequence[str]) -> str | None:
  """Return the value of --task in arguments that are not parsed yet."""
  name = None
  for index, arg in enumerate(argv):
    flag, equals, value = arg.partition("=")
    if flag in ("--task", "-task"):
      name = value if equals else "".join(argv[index + 1 : index + 2])
  return name


def _overview(tasks: Mapping[str, types.ModuleType], usage: str) -> str:
  width = max(map(len, tasks))
  lines = [f"  {name:{width}}  {_line(tasks[name])}" for name in tasks]
  return "\n".join(
    [
      usage.strip(),
      "",
      f"Values of --task (default: {_DEFAULT_TASK}):",
      *lines,
      "",
      "Flags of a task: python main.py --task=NAME --help",
    ]
  )


def _help_of(name: str, task: types.ModuleType) -> str:
  lines = [f"--task={name}: {inspect.getdoc(task)}", "", "Flags:"]
  for holder in task.FLAGS:
    flag = flags.FLAGS[holder.name]
    lines.append(f"  --{flag.name} (default: {_spelled(flag.default)})")
    lines += textwrap.wrap(
      flag.help, 72, initial_indent=" " * 6, subsequent_indent=" " * 6
    )
  return "\n".join(lines)


def _spelled(default: object) -> str:
  if default is None or default == "":
    return "none"
  return str(default).lower() if isinstance(default, bool) else str(default)


def _line(task: types.ModuleType) -> str:
  return (inspect.getdoc(task) or "").partition("\n")[0]
