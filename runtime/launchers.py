"""Launchers of several processes, known by the variables that each sets.

Variables and device files are read, nothing else: no network, and no library
that needs it. JAX's own detection of Kubernetes is not used: it wants the
package `kubernetes`, and an account that may read pods and jobs.
"""

import dataclasses
import glob
import importlib.util
import re
import socket
from collections.abc import Callable, Mapping

from runtime import failures

# Port of process 0 where the environment names none.
PORT = 8476
# Variables of an Indexed Job; the Job's manifest sets the second one.
_KUBERNETES = ("JOB_COMPLETION_INDEX", "JAX_NUM_PROCESSES")
_ADDRESS = "JAX_COORDINATOR_ADDRESS"


class LauncherError(failures.RunError):
  """Error of variables that are incomplete or contradict each other."""


@dataclasses.dataclass(frozen=True)
class Launcher:
  """Launcher that has started this process as one of several.

  Attributes:
    name: for messages.
    count: number of processes; 0: JAX asks the machine.
    index: index of this process.
    variables: variables that say so, for messages.
    address: HOST:PORT of process 0, "" where JAX makes it of variables.
    method: JAX's name of the detection then.
  """

  name: str
  count: int
  index: int = 0
  variables: str = ""
  address: str = ""
  method: str = ""

  def __str__(self) -> str:
    return f"{self.name} ({self.variables})"


def find(
  variables: Mapping[str, str],
  say: Callable[[str], None],
  *,
  with_tpu: bool = True,
) -> Launcher | None:
  """Return the launcher of this process, None where it is alone.

  Of several, the first one has started it: mpirun runs inside Slurm, and
  SkyPilot's commands inside the job of a cluster.

  Args:
    variables: environment of this process.
    say: function that prints a line, for what a user would not expect.
    with_tpu: whether a TPU slice is one.

  Raises:
    LauncherError: variables are incomplete or contradict each other.
  """
  all_of_them = [
    launcher
    for detect in (_open_mpi, _slurm, _tpu, _skypilot, _kubernetes)
    if (detect is not _tpu or with_tpu)
    and (launcher := detect(variables, say)) is not None
  ]
  if not all_of_them:
    return None
  first, *others = all_of_them
  if others and first.count and not first.index:
    named = " and ".join(map(str, others))
    say(
      f"{first} has started this process, and there are variables of {named}:"
      f" joining {first.count} processes by those of {first.name}"
    )
  return first


def _open_mpi(
  variables: Mapping[str, str], say: Callable[[str], None]
) -> Launcher | None:
  del say
  names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
  if (pair := _pair("Open MPI", variables, *names)) is None:
    return None
  launcher = _launcher("Open MPI", *pair, names, method="ompi")
  if "OMPI_MCA_orte_hnp_uri" in variables:
    return launcher
  # Open MPI 5 names no host.
  if variables.get("OMPI_COMM_WORLD_LOCAL_SIZE") == variables[names[0]]:
    number = re.sub(r"\D", "", variables.get("PMIX_NAMESPACE", "")) or "0"
    address = f"127.0.0.1:{PORT + int(number) % 4096}"
    return dataclasses.replace(launcher, address=address)
  if not (address := variables.get(_ADDRESS, "")):
    raise LauncherError(
      f"{launcher}: this version of mpirun names no host; give all processes"
      f" {_ADDRESS}=HOST:PORT of process 0 (mpirun -x)"
    )
  return dataclasses.replace(launcher, address=address)


def _slurm(
  variables: Mapping[str, str], say: Callable[[str], None]
) -> Launcher | None:
  names = ("SLURM_NTASKS", "SLURM_PROCID")
  if "SLURM_JOB_ID" not in variables:
    return None
  if "SLURM_STEP_NODELIST" not in variables:
    if (number := variables.get(names[0], "1")) != "1":
      say(
        f"Slurm has allocated {number} tasks ({names[0]}), and this process is"
        " not one of a step: it runs alone; start it with srun"
      )
    return None
  of_step = variables.get("SLURM_STEP_NUM_TASKS")
  variables = {names[0]: of_step or "1", **variables}
  if (pair := _pair("Slurm", variables, *names)) is None:
    return None
  if of_step not in (None, variables[names[0]]):
    raise LauncherError(
      f"Slurm: SLURM_NTASKS={variables[names[0]]} and"
      f" SLURM_STEP_NUM_TASKS={of_step} contradict each other: unset"
      " SLURM_NTASKS before srun, or give srun --ntasks"
    )
  if "SLURM_LOCALID" not in variables:
    raise LauncherError(
      f"Slurm: {_set(variables, names)}, but SLURM_LOCALID is not set"
    )
  return _launcher("Slurm", *pair, names, method="slurm")


def _tpu(
  variables: Mapping[str, str], say: Callable[[str], None]
) -> Launcher | None:
  del say
  # JAX finds out later whether the slice has other workers.
  wants_tpu = "tpu" in (variables.get("JAX_PLATFORMS") or "tpu")
  chips = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
  if wants_tpu and chips and importlib.util.find_spec("libtpu"):
    return Launcher("TPU slice", 0, variables=", ".join(chips[:1]))
  return None


def _skypilot(
  variables: Mapping[str, str], say: Callable[[str], None]
) -> Launcher | None:
  del say
  names = ("SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK")
  if (pair := _pair("SkyPilot", variables, *names)) is None:
    return None
  hosts = variables.get("SKYPILOT_NODE_IPS", "").split()
  if len(hosts) != pair[0]:
    raise LauncherError(
      f"SkyPilot: {_set(variables, names)}, but SKYPILOT_NODE_IPS has"
      f" {len(hosts)} addresses"
    )
  return _launcher("SkyPilot", *pair, names, address=f"{hosts[0]}:{PORT}")


def _kubernetes(
  variables: Mapping[str, str], say: Callable[[str], None]
) -> Launcher | None:
  name, size = _KUBERNETES
  if name not in variables:
    return None
  if size not in variables:
    say(
      f"Kubernetes: {name}={variables[name]}, but {size} is not set: this"
      " process runs alone; set it to the Job's completions to join them"
    )
    return None
  if (pair := _pair("Kubernetes", variables, size, name)) is None:
    return None
  address = variables.get(_ADDRESS) or _first_pod(variables[name])
  if not address:
    raise LauncherError(
      f"Kubernetes: {_set(variables, (size, name))}, but the pod of index 0 is"
      f" not known: set {_ADDRESS}=HOST:PORT, or the Job's subdomain to a"
      " headless service"
    )
  if ":" not in address:
    address = f"{address}:{PORT}"
  return _launcher("Kubernetes", *pair, (size, name), address=address)


def _first_pod(index: str) -> str:
  """Return the name of an Indexed Job's pod 0, "" where it has none.

  A pod's is JOB-INDEX.SERVICE.NAMESPACE.svc.CLUSTER, where its Job has a
  headless service as subdomain.
  """
  host, _, domain = socket.getfqdn().partition(".")
  if not domain or not host.endswith(f"-{index}"):
    return ""
  return f"{host.removesuffix(index)}0.{domain}"


def _pair(
  launcher: str, variables: Mapping[str, str], size: str, rank: str
) -> tuple[int, int] | None:
  """Return number of processes and index of this one; None where it is alone.

  Raises:
    LauncherError: one is missing, is no number, or is out of range.
  """
  if size not in variables and rank not in variables:
    return None
  missing = [name for name in (size, rank) if name not in variables]
  if missing == [rank] and variables[size] == "1":
    return None
  if missing:
    raise LauncherError(
      f"{launcher}: {_set(variables, (size, rank))}, but {missing[0]} is not"
      " set"
    )
  try:
    count, index = int(variables[size]), int(variables[rank])
  except ValueError:
    count, index = -1, 0
  if not 0 <= index < max(count, 1) or count < 0:
    raise LauncherError(
      f"{launcher}: {rank} must be from 0 to {size} - 1; got"
      f" {_set(variables, (size, rank))}"
    )
  return (count, index) if count > 1 else None


def _launcher(
  name: str,
  count: int,
  index: int,
  names: tuple[str, ...],
  address: str = "",
  method: str = "",
) -> Launcher:
  shown = {names[0]: str(count), names[1]: str(index)}
  return Launcher(name, count, index, _set(shown, names), address, method)


def _set(variables: Mapping[str, str], names: tuple[str, ...]) -> str:
  return ", ".join(f"{n}={variables[n]}" for n in names if n in variables)
