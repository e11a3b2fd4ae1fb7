"""Checks of a config field's value, with one form of message for all.

Every message is "FIELD must be CONDITION; got VALUE". A config is checked in
`collected`, so that one run names all that is wrong with it.
"""

import contextlib
import contextvars
from collections.abc import Collection, Iterator
from typing import Any

from runtime import failures

# Problems of the config that is being checked, None outside of `collected`.
_problems: contextvars.ContextVar[list[Exception] | None] = (
  contextvars.ContextVar("problems", default=None)
)


@contextlib.contextmanager
def collected() -> Iterator[None]:
  """Raise the problems of this context together; one problem as it is.

  Checks note theirs and go on. An error with a message for users ends this
  context, and is noted. Any other error that follows a problem ends it too: it
  came of a value that was refused. In a context within another, the outer one
  raises.

  Raises:
    ValueError: there are several problems; its message has a line for each.
  """
  outer = _problems.get()
  problems = [] if outer is None else outer
  token = _problems.set(problems)
  try:
    yield
  except Exception as error:
    if failures.describe(error) is not None:
      problems.append(error)
    elif not problems:
      raise
  finally:
    _problems.reset(token)
  if outer is None and problems:
    lines = list(
      dict.fromkeys(
        failures.describe(error) or str(error) for error in problems
      )
    )
    if len(lines) == 1:
      raise problems[0]
    raise ValueError(f"{len(lines)} problems:\n  " + "\n  ".join(lines))


@contextlib.contextmanager
def named(prefix: str) -> Iterator[None]:
  """Put `prefix` before the problems of this context, within `collected`."""
  outer = _problems.get()
  assert outer is not None, "named() stands within collected()"
  problems: list[Exception] = []
  token = _problems.set(problems)
  try:
    yield
  except Exception as error:
    if failures.describe(error) is not None:
      problems.append(error)
    elif not problems:
      raise
  finally:
    _problems.reset(token)
  for error in problems:
    outer.append(ValueError(f"{prefix}{failures.describe(error) or error}"))


def refuse(message: str) -> None:
  """Raise ValueError; within `collected`, note it and return."""
  problems, error = _problems.get(), ValueError(message)
  if problems is None:
    raise error
  problems.append(error)


def at_least(field: str, value: float, lowest: float) -> None:
  """Raise ValueError, naming `field`, for a value below `lowest` or NaN."""
  if not value >= lowest:
    refuse(f"{field} must be at least {lowest}; got {value}")


def above(field: str, value: float, bound: float) -> None:
  """Raise ValueError, naming `field`, for a value not above `bound`."""
  if not value > bound:
    refuse(f"{field} must be above {bound}; got {value}")


def between(field: str, value: float, low: float, high: float) -> None:
  """Raise ValueError, naming `field`, for a value outside [low, high]."""
  if not low <= value <= high:
    refuse(f"{field} must be between {low} and {high}; got {value}")


def in_range(field: str, value: float, low: float, end: float) -> None:
  """Raise ValueError, naming `field`, for a value outside [low, end)."""
  if not low <= value < end:
    refuse(f"{field} must be in [{low}, {end}); got {value}")


def one_of(field: str, value: Any, choices: Collection[Any]) -> None:
  """Raise ValueError, naming `field`, for a value that is not a choice."""
  if value not in choices:
    names = ", ".join(str(choice) or "''" for choice in choices)
    refuse(f"{field} must be one of {names}; got {value!r}")
