"""Engines that work on shards: this process, others, or a Ray cluster.

An engine runs a function over tasks and yields, in any order, the number of
each task and its result, or the exception that it raised; one that fails does
not stop the others. Results are the same on all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from runtime import checks, processes

DISK_IS_FULL = (
  "The disk is full. What is done is whole: free some space (folders of "
  "WORKDIR/stages with other parameters may be deleted) and run the same "
  "command to go on"
)


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
      yield number, processes.attempt(fn, task)

  def close(self) -> None:
    """Do nothing."""


def check(name: str, num_workers: int) -> None:
  """Raise ValueError, naming the flag, for what `make` cannot make."""
  checks.one_of("--engine", name, ENGINES)
  checks.at_least("--num_workers", num_workers, 0)


def make(name: str, num_workers: int) -> Engine:
  """Return an engine; of no workers, one that works in this process.

  Raises:
    ValueError: see `check`.
    ModuleNotFoundError: Ray is not installed; it says what to do.
  """
  check(name, num_workers)
  return ENGINES[name](num_workers) if num_workers else Inline()


def _ray(num_workers: int) -> Engine:
  # Not installed by requirements.txt.
  from curation.engine import ray_engine

  return ray_engine.Ray(num_workers)


# Name -> make(num_workers).
ENGINES: Mapping[str, Callable[[int], Engine]] = {
  "inline": lambda num_workers: Inline(),
  "processes": lambda num_workers: processes.Pool(
    num_workers, "fewer --num_workers, or smaller shards"
  ),
  "ray": _ray,
}
