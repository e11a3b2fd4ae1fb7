"""Where shards are worked on: in this process, in others, or on a Ray cluster.

An engine runs a function over tasks and yields, in any order, the number of
each task and its result, or the exception that it raised; one that fails does
not stop the others. Results are the same on all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol


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
      try:
        result = fn(task)
      except Exception as error:
        result = error
      yield number, result

  def close(self) -> None:
    """Do nothing."""


def _inline(num_workers: int) -> Engine:
  del num_workers
  return Inline()


# Name -> make(num_workers).
ENGINES: Mapping[str, Callable[[int], Engine]] = {"inline": _inline}
