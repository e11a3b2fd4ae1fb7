"""Tasks on a Ray cluster: one of this machine, or that of RAY_ADDRESS.

On a cluster, --workdir, cache_dir and the pool are on a disk that all nodes
share (or at gs://, s3:// for the pool), and this repository and its Python
packages at the same path of each.
"""

import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from runtime import failures, processes

# Read as Ray is imported. It counts its users otherwise.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What Ray's next versions do anyway; a warning until then.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
  import ray
except ModuleNotFoundError as error:
  raise failures.RunError(
    f"--engine=ray: {error}. To install it: "
    "pip install -r requirements-curation.txt"
  ) from error

_ROOT = str(pathlib.Path(__file__).parent.parent.parent)
# Bytes; tasks and results are small. Ray takes a third of the memory otherwise.
_STORE_BYTES = 128 << 20
# Tasks that are handed out, for each processor of the cluster: the next one is
# there when one is done.
_TASKS_AHEAD = 2


class Ray:
  """Runs tasks on a cluster."""

  def __init__(self, num_workers: int):
    """Join the cluster, or start one.

    At once: starting it forks, which is not safe when JAX has threads.

    Args:
      num_workers: processors of the cluster that is started; one that is
        running has its own number.
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
    # Once a worker, not with each task: a recipe can be long, tasks are many.
    function = ray.put(fn)
    # Ray must not retry: the ledger tells of each attempt.
    remote = ray.remote(num_cpus=1, max_retries=0)(_attempt)
    num_processors = int(ray.cluster_resources().get("CPU", 1))
    waiting = iter(range(len(tasks)))
    running: dict[ray.ObjectRef, int] = {}

    def give() -> None:
      number = next(waiting, None)
      if number is not None:
        # In a list, a reference is handed on as it is.
        reference = remote.remote([function], tasks[number])
        running[reference] = number

    try:
      for _ in range(_TASKS_AHEAD * max(1, num_processors)):
        give()
      while running:
        (reference,), _ = ray.wait(list(running), num_returns=1)
        number = running.pop(reference)
        give()
        yield number, _result(reference)
    finally:
      for reference in running:
        ray.cancel(reference, force=True)

  def close(self) -> None:
    """Leave the cluster; one that was started here ends."""
    ray.shutdown()


# Of a worker: the function of the run that it works for, by its reference.
_opened: dict[str, Any] = {}


def _attempt(functions: list, task: Any) -> Any:
  """Return what a task gave, in a worker; see processes.attempt."""
  (reference,) = functions
  key = reference.hex()
  if key not in _opened:
    # A task has one processor, as in processes.Pool.
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
