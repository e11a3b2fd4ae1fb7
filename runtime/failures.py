"""Messages at the terminal when a run fails.

This module imports no slow library, so that a misspelt flag is reported at
once.
"""

import errno
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from runtime import stopping

_ROOT = pathlib.Path(__file__).parent.parent
# A flag of a config, or of a field of it.
_FIELD = re.compile(r"--?(config(?:\.[^=]*)?)(?==|$)")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class RunError(Exception):
  """Failure whose message suffices: it is printed without a traceback."""


def describe(error: BaseException) -> str | None:
  """Return a message of one or two lines, None if only a traceback will do.

  Errors raised by this project and by the operating system are explained by
  their messages; any other is a defect, and its traceback is needed.
  """
  if _is_ours(error):
    return str(error)
  if is_disk_full(error):
    return (
      f"The disk is full{_file_of(error)}. Checkpoints that were finished are"
      " whole: free some space and run the same command to go on."
    )
  if isinstance(error, ModuleNotFoundError):
    # Messages of this project name the requirements file themselves.
    advice = ". To install what is needed: pip install -r requirements.txt"
    is_pythons = str(error).startswith("No module named")
    return f"{error}{advice}" if is_pythons else str(error)
  if "Failed loading config file" in str(error):
    return f"--config: {str(error).splitlines()[-1].strip()}"
  if isinstance(error, OSError):
    return f"{error.strerror or error}{_file_of(error)}"
  if isinstance(error, RunError | app.UsageError):
    return str(error)
  return None


def is_disk_full(error: BaseException) -> bool:
  """Return whether a write failed for want of space."""
  # Orbax and Arrow may lose the number, and only the text is left.
  return (isinstance(error, OSError) and error.errno in _FULL) or (
    os.strerror(errno.ENOSPC) in str(error)
  )


def reported(
  main: Callable[[Sequence[str]], int],
  end: Callable[[int], int] = int,
) -> Callable[[Sequence[str]], int]:
  """Return `main` with failures turned into a message and exit code 1.

  SIGTERM and Ctrl-C end it as runtime/stopping.py says. Log lines of libraries
  and the traceback are hidden unless --verbosity is set (1 shows both).

  Args:
    main: function of the command line, which returns the exit code.
    end: function of the exit code of a failure, SIGTERM or Ctrl-C, as
      `stopping.end`, since Python's own clean-up crashes at times (SIGABRT).
  """

  def run(argv: Sequence[str]) -> int:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    try:
      with stopping.raised():
        return main(argv)
    except stopping.Stopped as stop:
      print(stop, file=sys.stderr)
      return end(stop.exit_code)
    except Exception as error:
      message = describe(error)
      if message is None:
        raise
      logging.debug("The traceback:", exc_info=True)
      print(f"error: {message}", file=sys.stderr)
      return end(1)

  return run


def parse_flags(
  argv: Sequence[str],
  removed: Mapping[str, str],
  parse_config: Callable[[Sequence[str]], Any],
  check_config: Callable[[Any], None],
) -> Sequence[str]:
  """Parse absl flags; exit with a message if some cannot be parsed.

  Of a flag that comes twice, the last value counts, as absl has it.

  Args:
    argv: command line.
    removed: message for each flag that earlier versions had.
    parse_config: parser of --config and flags of its fields alone, which is
      tried with each field: absl ends at the first one that is wrong.
    check_config: check of the values that it returns; of the values of flags
      that can be parsed, the problems are named with those that cannot.
  """
  for arg in argv:
    name = arg.lstrip("-").partition("=")[0]
    if arg.startswith("-") and name in removed:
      print(f"error: --{name} {removed[name]}", file=sys.stderr)
      sys.exit(1)
  try:
    return flags.FLAGS(_last_of_each(argv))
  except Exception as error:  # config files and ml_collections raise any
    problems = _problems_of_fields(argv, parse_config, check_config)
    message = of_parsing(error)
    if len(problems) > 1:
      message = f"{len(problems)} problems:\n  " + "\n  ".join(problems)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def config_words(argv: Sequence[str]) -> list[str]:
  """Return --config and its fields of a command line, as "--config.F=VALUE"."""
  return [
    "--" + "=".join(words).lstrip("-")
    for words in _groups(_last_of_each(argv))
    if _name_of(words)
  ]


def _problems_of_fields(
  argv: Sequence[str],
  parse_config: Callable[[Sequence[str]], Any],
  check_config: Callable[[Any], None],
) -> list[str]:
  """Return a line for each field of --config that cannot be used."""
  groups = _groups(_last_of_each(argv))
  config = [words for words in groups if _name_of(words) == "config"]
  problems, parsed = [], {}
  for words in groups:
    if (name := _name_of(words)).startswith("config.") and config:
      try:
        parse_config([*config[0], *words])
        parsed[name.removeprefix("config.")] = words
      except Exception as error:
        problems.append(f"--{name}: {of_parsing(error)}")
  if not problems:
    return problems
  try:
    words = [word for group in parsed.values() for word in group]
    check_config(parse_config([*config[0], *words]))
  except Exception as error:
    lines = [line.strip() for line in (describe(error) or "").splitlines()]
    # Others may be there for want of the fields that cannot be parsed.
    problems += [line for line in lines if line.startswith(tuple(parsed))]
  return problems


def of_parsing(error: BaseException) -> str:
  """Return the line of an error that flags or a config file raised."""
  while error.args and isinstance(error.args[0], Exception):
    error = error.args[0]  # ml_collections wraps one error in another
  # A KeyError's text is quoted.
  text = str(error.args[0] if isinstance(error, KeyError) else error)
  if "Traceback (most recent call last)" in text:
    # The last line of a config file's traceback has the reason.
    text = text.strip().splitlines()[-1].strip().removeprefix("ValueError: ")
  message = " ".join(text.split()) or type(error).__name__
  if isinstance(error, ModuleNotFoundError):
    return str(describe(error))
  if isinstance(error, AttributeError | KeyError):
    return f"there is no config field {message}"
  if isinstance(error, flags.UnrecognizedFlagError) and (
    error.flagname.startswith("config.")
  ):
    # Fields become flags when their config is read.
    return f"--{error.flagname} needs --config=configs/NAME.py beside it"
  return f"--config: {message}" if isinstance(error, SyntaxError) else message


def _groups(argv: Sequence[str]) -> list[list[str]]:
  """Return a command line's flags of the config with their values, and words.

  The value of "--config.FIELD VALUE" is in one group with its flag.
  """
  groups: list[list[str]] = []
  for arg in argv:
    before = groups[-1] if groups else []
    # The value of "--config.FIELD VALUE"; it may be a negative number.
    is_value = arg[:1] != "-" or arg[1:2].isdigit()
    if is_value and len(before) == 1 and _FIELD.fullmatch(before[0]):
      before.append(arg)
    else:
      groups.append([arg])
  return groups


def _name_of(words: Sequence[str]) -> str:
  """Return "config" or "config.FIELD" for a flag of it, "" for another."""
  field = _FIELD.match(words[0])
  return field[1] if field else ""


def _last_of_each(argv: Sequence[str]) -> list[str]:
  """Return a command line with one value for the config and each of its fields.

  ml_collections joins the values of a tuple's flags, and defines the fields of
  a second --config again.
  """
  argv = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
  groups = _groups(argv)
  names = [_name_of(words) for words in groups]
  last = dict(zip(names, groups, strict=True))
  kept: list[str] = []
  for index, (name, words) in enumerate(zip(names, groups, strict=True)):
    if name == "config":  # fields must come after it
      kept += last[name] if name not in names[:index] else ()
    elif not name or name not in names[index + 1 :]:
      kept += words
  return kept


def _file_of(error: BaseException) -> str:
  filename = getattr(error, "filename", None)
  return f": {os.fspath(filename)}" if filename else ""


def _is_ours(error: BaseException) -> bool:
  """Return whether a line of this project raised the error and its message."""
  if isinstance(error, OSError):
    said = error.errno is None
  else:
    said = isinstance(error, ValueError)
  frames = traceback.extract_tb(error.__traceback__)
  if not said or not frames:
    return False
  path = pathlib.Path(frames[-1].filename)
  return path.is_relative_to(_ROOT) and "site-packages" not in path.parts
