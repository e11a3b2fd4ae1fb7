"""Where shards are worked on: in this process, in others, or on a Ray cluster.

An engine runs a function over tasks and yields, in any order, the number of
each task and its result, or the exception that it raised; one that fails does
not stop the others. Results are the same on all of them.
"""

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

DISK_IS_FULL = (
  "The disk is full. What is done is whole: free some space (folders of "
  "WORKDIR/stages with other parameters may be deleted) and run the same "
  "command to go on"
)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class TaskError(Exception):
  """What a task failed of, in words: not every exception can be sent.

  Attributes:
    kind: name of the exception's class.
    message: its text.
    trace: its traceback, of the process that it was raised in.
    is_users: whether it is about files or settings, not a defect of ours.
    was_killed: whether the process ended instead of raising.
    disk_is_full: whether no task can go on.
  """

  def __init__(
    self,
    kind: str,
    message: str,
    trace: str = "",
    *,
    is_users: bool = False,
    was_killed: bool = False,
    disk_is_full: bool = False,
  ):
    super().__init__(f"{kind}: {message}")
    self.kind = kind
    self.message = message
    self.trace = trace
    self.is_users = is_users
    self.was_killed = was_killed
    self.disk_is_full = disk_is_full

  def __reduce__(self):
    facts = {
      "is_users": self.is_users,
      "was_killed": self.was_killed,
      "disk_is_full": self.disk_is_full,
    }
    return _task_error, (self.kind, self.message, self.trace, facts)


class Engine(Protocol):
  """Runs functions over tasks."""

  def run(
    self, fn: Callable[[Any], Any], tasks: Sequence[Any]
  ) -> Iterator[tuple[int, Any | Exception]]:
    """Yield (number of a task, its result or exception) as they are done.

    Args:
      fn: can be pickled; of a module that workers can import.
      tasks: can be pickled.
    """
    ...

  def close(self) -> None:
    """End the workers."""
    ...


class Inline:
  """Runs tasks in this process, one after the other."""

  def run(
    self, fn: Callable[[Any], Any], tasks: Sequence[Any]
  ) -> Iterator[tuple[int, Any | Exception]]:
    """Yield each task's number and result; see Engine.run."""
    for number, task in enumerate(tasks):
      yield number, attempt(fn, task)

  def close(self) -> None:
    """Do nothing."""


def attempt(fn: Callable[[Any], Any], task: Any) -> Any:
  """Return a task's result, or the TaskError that tells why there is none."""
  try:
    return fn(task)
  except Exception as error:
    return task_error(error)


def task_error(error: Exception) -> TaskError:
  """Return an exception of a task in words."""
  if isinstance(error, TaskError):
    return error
  found = TaskError(
    type(error).__name__,
    str(error),
    "".join(traceback.format_exception(error)),
    is_users=isinstance(error, ValueError | OSError | ModuleNotFoundError),
    disk_is_full=is_disk_full(error),
  )
  found.__cause__ = error
  return found


def is_disk_full(error: BaseException) -> bool:
  """Return whether a write failed for want of space."""
  # Arrow's errors may have the number in their text alone.
  return isinstance(error, OSError) and (
    error.errno in _FULL or os.strerror(errno.ENOSPC) in str(error)
  )


def check(name: str, num_workers: int) -> None:
  """Raise ValueError, naming the flag, for what `make` cannot make."""
  if name not in ENGINES:
    raise ValueError(
      f"--engine must be one of {', '.join(ENGINES)}; got {name!r}"
    )
  if num_workers < 0:
    raise ValueError(f"--num_workers must be at least 0; got {num_workers}")


def make(name: str, num_workers: int) -> Engine:
  """Return an engine; of no workers, one that works in this process.

  Raises:
    ValueError: see `check`.
    ModuleNotFoundError: Ray is not installed; it says what to do.
  """
  check(name, num_workers)
  return ENGINES[name](num_workers) if num_workers else Inline()


def _inline(num_workers: int) -> Engine:
  del num_workers
  return Inline()


def _processes(num_workers: int) -> Engine:
  from runtime import processes

  return processes.Processes(num_workers)


def _ray(num_workers: int) -> Engine:
  # Not installed by requirements.txt.
  from curation.engine import ray_engine

  return ray_engine.Ray(num_workers)


# Name -> make(num_workers).
ENGINES: Mapping[str, Callable[[int], Engine]] = {
  "inline": _inline,
  "processes": _processes,
  "ray": _ray,
}


def _task_error(
  kind: str, message: str, trace: str, facts: Mapping[str, bool]
) -> TaskError:
  return TaskError(kind, message, trace, **facts)
