"""Shares of this machine's processors, one for each trial that runs at once.

A process and its threads stay on the processors of the one that starts it; XLA
and data workers count those. GPUs are shared by CUDA_VISIBLE_DEVICES.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping

from runtime import failures

# Part of a GPU's memory that processes divide, as JAX takes it for one.
_GPU_MEMORY = 0.9


@dataclasses.dataclass(frozen=True)
class Slot:
  """Share of one process.

  Attributes:
    processors: indices as of os.sched_getaffinity; empty for all.
    variables: environment variables.
  """

  processors: frozenset[int] = frozenset()
  variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Let processes that are started in this context have the share."""
    before = os.sched_getaffinity(0)
    try:
      if self.processors:
        os.sched_setaffinity(0, self.processors)
      yield
    finally:
      os.sched_setaffinity(0, before)


def divide(count: int) -> list[Slot]:
  """Return the shares of `count` processes.

  Raises:
    RunError: a TPU is here, which takes one process at a time.
  """
  if count == 1:
    return [Slot()]
  if any(pathlib.Path("/dev").glob("accel[0-9]*")):
    raise failures.RunError(
      "--max_parallel must be 1 on a TPU, which one process has at a time; got"
      f" {count}"
    )
  processors = sorted(os.sched_getaffinity(0))
  gpus = _gpus()
  return [
    Slot(
      frozenset(_share(processors, index, count)),
      _gpu_variables(gpus, index, count) if gpus else {},
    )
    for index in range(count)
  ]


def _share(items: list, index: int, count: int) -> list:
  """Return equal parts of a list, or one item where they are too few."""
  if len(items) < count:
    return [items[index % len(items)]]
  return items[index * len(items) // count : (index + 1) * len(items) // count]


def _gpus() -> list[str]:
  if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
    return [name for name in listed.split(",") if name]
  devices = pathlib.Path("/dev").glob("nvidia[0-9]*")
  return [str(index) for index, _ in enumerate(devices)]


def _gpu_variables(gpus: list[str], index: int, count: int) -> dict[str, str]:
  variables = {"CUDA_VISIBLE_DEVICES": ",".join(_share(gpus, index, count))}
  if len(gpus) < count:
    each = -(-count // len(gpus))
    fraction = _GPU_MEMORY / each
    variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{fraction:.3f}"
  return variables
