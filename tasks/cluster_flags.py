"""Flags of a run of several processes."""

from collections.abc import Callable

from absl import flags

_ADDRESS = flags.DEFINE_string(
  "coordinator_address",
  None,
  "HOST:PORT of process 0, for a run of several processes. Not needed on a"
  " TPU slice, or under Slurm, Open MPI, SkyPilot and Kubernetes.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "Number of processes in the run; 1 joins nothing."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Index of this process, from 0 on."
)
_TIMEOUT = flags.DEFINE_integer(
  "join_timeout_seconds",
  300,
  "Seconds within which all processes must have joined.",
  lower_bound=1,
)
FLAGS = (_ADDRESS, _NUM_PROCESSES, _PROCESS_ID, _TIMEOUT)


def run_joined(task: Callable[[], int]) -> int:
  """Join the run's other processes, then run the task in all of them."""
  from runtime import cluster, stopping

  with stopping.at_once():
    cluster.join(
      _ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value, _TIMEOUT.value
    )
  return cluster.run_joined(task)
