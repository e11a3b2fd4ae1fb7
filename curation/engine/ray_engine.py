"""Tasks on a Ray cluster: one started on this machine, or RAY_ADDRESS.

On a cluster, --workdir, cache_dir and the pool must lie on a disk that all
nodes share (the pool may be at gs:// or s3://, and --workdir too, where TMPDIR
is on such a disk), and this repository and its Python packages at the same path
on each node.
"""

import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from runtime import failures, processes, stopping

# Usage statistics are turned off; Ray reads this when it is imported.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# The default of Ray's next versions; without it, Ray prints a warning.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
  import ray
except ModuleNotFoundError as error:
  raise failures.RunError(
    f"--engine=ray: {error}. To install it: "
    "pip install -r requirements-curation.txt"
  ) from error

_ROOT = str(pathlib.Path(__file__).parent.parent.parent)
# Bytes of the object store. Ray's default is a third of the memory, but tasks
# and results are small.
_STORE_BYTES = 128 << 20
# Tasks submitted per processor, so that a processor never waits for the next.
_TASKS_AHEAD = 2


class Ray:
  """Runs tasks on a cluster."""

  def __init__(self, num_workers: int):
    """Join the cluster, or start one.

    Must be called before JAX starts threads, since starting a cluster forks.

    Args:
      num_workers: processors of a cluster that is started; a running one has
        its own number.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    address = os.environ.get("RAY_ADDRESS", "")
    options: dict[str, Any] = {"address": address}
    if not address:
      options = {
        "num_cpus": num_workers,
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
      }
    paths = [_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
      with stopping.undisturbed():
        ray.init(
          **options,
          log_to_driver=False,
          logging_level=logging.ERROR,
          runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}},
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
      raise failures.RunError(
        "--engine=ray: no cluster could be joined or started "
        f"(RAY_ADDRESS={address!r}): {error}"
      ) from error

  def run(
    self, fn: Callable[[Any], Any], tasks: Sequence[Any]
  ) -> Iterator[tuple[int, Any | Exception]]:
    """Yield each task's number and result; see Engine.run."""
    # Stored once: a recipe can be long, and tasks are many.
    function = ray.put(fn)
    # No retries by Ray: the ledger records every attempt.
    remote = ray.remote(num_cpus=1, max_retries=0)(_attempt)
    num_processors = int(ray.cluster_resources().get("CPU", 1))
    waiting = iter(range(len(tasks)))
    running: dict[ray.ObjectRef, int] = {}

    def give() -> None:
      number = next(waiting, None)
      if number is not None:
        # Ray passes a reference inside a list as it is, unresolved.
        reference = remote.remote([function], tasks[number])
        running[reference] = number

    # Tasks of a run that is left early are not cancelled, as Ray aborts the
    # process where a task ends while it is cancelled: they end by themselves,
    # or with the connection, in `close`.
    for _ in range(_TASKS_AHEAD * max(1, num_processors)):
      give()
    while running:
      (reference,), _ = ray.wait(list(running), num_returns=1)
      number = running.pop(reference)
      give()
      yield number, _result(reference)

  def close(self) -> None:
    """Leave the cluster; a cluster started by this process ends."""
    ray.shutdown()


# Function of the current run in this worker, by its reference.
_opened: dict[str, Any] = {}


def _attempt(functions: list, task: Any) -> Any:
  """Return a task's result or error, in a worker; see processes.attempt."""
  (reference,) = functions
  key = reference.hex()
  if key not in _opened:
    # Every task has one processor, as in processes.Pool.
    pa.set_cpu_count(1)
    _opened.clear()
    _opened[key] = processes.attempt(ray.get, reference)
  fn = _opened[key]
  result = fn
  if not isinstance(fn, processes.TaskError):
    result = processes.attempt(fn, task)
  pa.default_memory_pool().release_unused()
  return result


def _result(reference: Any) -> Any:
  try:
    return ray.get(reference)
  except ray.exceptions.RayTaskError as error:
    return processes.task_error(error)
  except ray.exceptions.RayError as error:
    return processes.TaskError(
      type(error).__name__, str(error), is_users=True, was_killed=True
    )
