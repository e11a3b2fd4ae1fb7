"""Flags of a run of several processes; imports nothing heavy by itself."""

from collections.abc import Callable

from absl import flags

_ADDRESS = flags.DEFINE_string(
  "coordinator_address",
  None,
  "HOST:PORT of process 0, for a run of several processes. Not needed on a"
  " TPU slice or under Slurm.",
)
_NUM = flags.DEFINE_integer(
  "num_processes", None, "Processes in the run; 1 joins nothing."
)
_ID = flags.DEFINE_integer("process_id", None, "This process, from 0 on.")
_TIMEOUT = flags.DEFINE_integer(
  "join_timeout_seconds",
  300,
  "Until when all processes must have joined.",
  lower_bound=1,
)


def joined(task: Callable[[], int]) -> Callable[[], int]:
  """Return the task as one that joins the run's other processes first."""

  def run() -> int:
    from runtime import cluster

    cluster.join(_ADDRESS.value, _NUM.value, _ID.value, _TIMEOUT.value)
    return cluster.run_joined(task)

  return run
