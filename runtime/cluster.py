"""Several processes that are one run: joining, agreeing, leaving.

Every process must call the functions here in the same order, as with JAX's own
collectives. A run of one process joins nothing; each function then applies to
that process alone.
"""

import contextlib
import functools
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax import P
from jax._src import distributed

from runtime import failures, launchers, lost_processes, stopping

T = TypeVar("T")
# Seconds after which JAX itself gives up a process that is stopped: the last
# defence, behind runtime/lost_processes.py and runtime/hung_processes.py. JAX
# takes them from the wall clock, and ends a healthy run in C++ where that is
# set forward by more.
HEARTBEAT_SECONDS = 7 * 86_400
# Most bytes of an error's message that are sent to other processes.
_MESSAGE_BYTES = 2000
# Prefixes of the keys of `tell` and `put`.
_TOLD, _PUT = "diptych/told/", "diptych/put/"
# Most seconds that `hear` waits: a large checkpoint is uploaded. This process
# ends earlier if another one is lost.
_HEAR_SECONDS = 3600
# Index of this process and number of processes; set once, by `join`.
_index, _count = 0, 1
_peers: lost_processes.Peers | None = None
# The last failure of this process that was sent to the others.
_agreed: Exception | None = None


class ClusterError(failures.RunError):
  """Error of processes that cannot form one run, or no longer do."""


def join(
  address: str | None,
  num_processes: int | None,
  process_id: int | None,
  timeout_seconds: int,
) -> None:
  """Join the other processes; call before the first use of a device.

  If all three are None, the environment decides: see launchers.find.

  Args:
    address: HOST:PORT of process 0.
    num_processes: number of processes; 1 joins nothing in any environment.
    process_id: index of this process, from 0 on.
    timeout_seconds: time in which all processes must have joined.

  Raises:
    ClusterError: the arguments do not fit together.
    LauncherError: variables of a launcher do not.
  """
  global _index, _count, _peers
  checked = _checked(address, num_processes, process_id)
  if checked is None and num_processes == 1:
    return
  launcher = None if checked else launchers.find(os.environ, _say)
  if not checked and launcher is None:
    return
  where = launcher.name if launcher else "--coordinator_address"
  if launcher and launcher.address:
    address = launcher.address
    num_processes, process_id = launcher.count, launcher.index
  wanted = f"the {num_processes} processes" if checked else "all processes"
  timer = threading.Timer(
    timeout_seconds,
    _give_up,
    (
      f"{where}: {wanted} did not come together at"
      f" {address or 'the address of process 0'} within {timeout_seconds} s"
      " (--join_timeout_seconds). Is each started, with another --process_id,"
      " and can it reach that port?",
    ),
  )
  timer.daemon = True
  timer.start()
  try:
    # JAX would end this process if its own timeout passed first.
    jax.distributed.initialize(
      address,
      num_processes,
      process_id,
      cluster_detection_method=(launcher and launcher.method) or None,
      initialization_timeout=timeout_seconds + 60,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
    _index, _count = jax.process_index(), jax.process_count()
  except ValueError as error:
    if checked or "coordinator_address" not in str(error):
      raise ClusterError(f"{where}: {error}") from error
    # The environment looks like a slice, but JAX has nothing to join.
  finally:
    timer.cancel()
  if launcher and _count == 1:
    _check_alone(launcher)
  if _count > 1:
    _peers = lost_processes.Peers(_lost, _stopped)
    _meet(_peers, address, timeout_seconds)


def announced() -> tuple[int, int]:
  """Return the index and the number of processes that `join` would join.

  They are read from variables, before anything is joined; (0, 1) where these
  tell of one process, or on a TPU slice of none. Raises LauncherError.
  """
  launcher = launchers.find(os.environ, lambda line: None, with_tpu=False)
  if launcher is None or not launcher.count:
    return 0, 1
  return launcher.index, launcher.count


def is_first() -> bool:
  """Return whether this process is the one that writes files and messages."""
  return _index == 0


def index() -> int:
  """Return the index of this process, from 0 on."""
  return _index


def count() -> int:
  """Return the number of processes."""
  return _count


def on_first(fn: Callable[[], T]) -> T:
  """Call `fn` on process 0 only and return its result on every process.

  Args:
    fn: function whose result JSON can express. An exception in it ends all
      processes.
  """
  if _count == 1:
    return fn()
  text = together(lambda: json.dumps(fn()) if is_first() else "")
  size = int(_first_row(np.array([len(text.encode())], np.int32))[0])
  row = np.zeros(size, np.uint8)
  if is_first():
    row = np.frombuffer(text.encode(), np.uint8)
  return json.loads(_first_row(row).tobytes())


def together(fn: Callable[[], T]) -> T:
  """Return this process's result of `fn`, once all processes have theirs.

  Args:
    fn: function without collectives, so that it may fail on one process alone.

  Raises:
    ClusterError: `fn` failed on another process; the message has its error.
  """
  global _agreed
  if _count == 1:
    return fn()
  failed, result = None, None
  try:
    result = fn()
  except Exception as error:
    failed = error
  row = np.zeros(_MESSAGE_BYTES, np.uint8)
  if failed is not None:
    text = failures.describe(failed) or f"{type(failed).__name__}: {failed}"
    message = np.frombuffer(text.encode()[:_MESSAGE_BYTES], np.uint8)
    row[: len(message)] = message
  rows = np.asarray(_gather(row))
  if failed is not None:
    _agreed = failed
    raise failed
  for process, row in enumerate(rows):
    if row.any():
      text = row.tobytes().rstrip(b"\0").decode(errors="ignore")
      raise ClusterError(f"process {process}: {text}")
  return result  # pyrefly: ignore[bad-return]


def gather(fn: Callable[[], T]) -> list[T]:
  """Return the results of `fn` on all processes, in their order.

  Args:
    fn: function without collectives whose result JSON can express; tuples come
      back as lists where there are several processes.

  Raises:
    ClusterError: as `together`.
  """
  if _count == 1:
    return [fn()]
  data = together(lambda: json.dumps(fn()).encode())
  sizes = np.asarray(_gather(np.array([len(data)], np.int32)))[:, 0]
  # Lengths of few values, since each is compiled.
  row = np.zeros(1 << int(sizes.max()).bit_length(), np.uint8)
  row[: len(data)] = np.frombuffer(data, np.uint8)
  rows = np.asarray(_gather(row))
  return [
    json.loads(row[:size].tobytes())
    for row, size in zip(rows, sizes, strict=True)
  ]


def first_then_all(fn: Callable[[], T]) -> T:
  """Call `fn` on process 0, then on the others; return this process's result.

  Files that `fn` writes to a shared disk are thus written once, even if locks
  do not work there between machines.
  """
  if _count == 1:
    return fn()
  result = together(lambda: fn() if is_first() else None)
  others = together(lambda: None if is_first() else fn())
  return result if is_first() else others  # pyrefly: ignore[bad-return]


def tell(name: str, fn: Callable[[], None]) -> None:
  """Call `fn`, and tell the others that it is done, or why it failed.

  No collective: a thread may call it. Each name is told once in a run.
  """
  failed = ""
  try:
    fn()
  except Exception as error:
    failed = failures.describe(error) or f"{type(error).__name__}: {error}"
    raise
  finally:
    _client().key_value_set(
      f"{_TOLD}{name}", json.dumps(failed[:_MESSAGE_BYTES])
    )


def hear(name: str, process: int) -> None:
  """Wait until a process has called `tell` with a name.

  Raises:
    ClusterError: its function failed; the message has the error.
  """
  text = _client().blocking_key_value_get(
    f"{_TOLD}{name}", _HEAR_SECONDS * 1000
  )
  if failed := json.loads(text):
    raise ClusterError(f"process {process}: {failed}")


def put(name: str, text: str) -> None:
  """Give a text to the store of keys, in place of an earlier one."""
  _client().key_value_set(f"{_PUT}{name}", text, allow_overwrite=True)


def all_put(prefix: str) -> dict[str, str]:
  """Return the texts of all names with a prefix, by the rest of their names."""
  pairs = _client().key_value_dir_get(f"{_PUT}{prefix}")
  return {key.rpartition("/")[2]: text for key, text in pairs}


class DelayedMax:
  """Maximum over processes, returned one call late so that no process waits.

  The numbers of one call are sent while the next step is computed. With one
  process there is no delay.
  """

  def __init__(self) -> None:
    self._ahead: jax.Array | None = None

  def highest(self, number: int) -> int:
    """Send a number, 0 to 255; return the highest of the previous call."""
    if _count == 1:
      return number
    before, self._ahead = self._ahead, _gather(np.array([number], np.uint8))
    return 0 if before is None else int(np.asarray(before).max())


def run_joined(task: Callable[[], int]) -> int:
  """Run a task of `main.py`; after a failure no process waits for another."""
  if _count == 1:
    return task()

  def run(argv: Any) -> int:
    del argv
    try:
      with stopping.at_once():
        return task()
    except Exception as error:
      if _peers is not None:
        if error is _agreed or isinstance(error, failures.RunError):
          _peers.leave()  # the others end for the same reason
        else:
          # A lost process first shows as the failure of a collective.
          _peers.wait_lost()
      raise

  code = 1
  try:
    code = failures.reported(run)([])
  except Exception as error:
    sys.excepthook(type(error), error, error.__traceback__)
  if code and code not in stopping.CODES:  # all end together with those
    lost_processes.end_process(code)
  if _peers is not None:
    _peers.leave()
  return code


def end_all(code: int) -> None:
  """End this process at once, and the others of the run with the same code."""
  if _peers is not None:
    _peers.stop(_index, code)
  lost_processes.end_process(code)


def _client() -> Any:
  """Return the client of JAX's coordination service: a store of keys."""
  return distributed.global_state.client


def _checked(
  address: str | None, num_processes: int | None, process_id: int | None
) -> tuple[str, int, int] | None:
  """Return the arguments if all are given, None if the environment decides."""
  values = {
    "--coordinator_address": address,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  missing = [name for name, value in values.items() if value is None]
  if len(missing) == 3 or (num_processes == 1 and len(missing) == 2):
    return None
  if missing or address is None or num_processes is None or process_id is None:
    raise ClusterError(
      f"{' and '.join(missing)} missing: several processes need"
      " --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I;"
      " on a TPU slice, under Slurm, Open MPI, SkyPilot and Kubernetes leave"
      " out all three"
    )
  host, _, port = address.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise ClusterError(
      f"--coordinator_address must be HOST:PORT of process 0; got {address!r}"
    )
  if num_processes < 1:
    raise ClusterError(
      f"--num_processes must be at least 1; got {num_processes}"
    )
  if not 0 <= process_id < num_processes:
    raise ClusterError(
      f"--process_id must be from 0 to --num_processes - 1 ="
      f" {num_processes - 1}; got {process_id}"
    )
  if num_processes == 1:
    return None
  if process_id == 0:
    _check_port(address, int(port))
  return address, num_processes, process_id


def _check_port(address: str, port: int) -> None:
  # JAX crashes if it cannot listen.
  try:
    with socket.socket() as probe:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      probe.bind(("", port))
  except OSError as error:
    raise ClusterError(
      f"--coordinator_address={address}: process 0 cannot listen on port"
      f" {port} ({error.strerror}); give another port to all processes"
    ) from error


def _check_alone(launcher: launchers.Launcher) -> None:
  """Raise where a process that has joined nothing is one of several."""
  if launcher.count:
    raise ClusterError(f"{launcher}: JAX has joined one process")
  other = launchers.find(os.environ, _say, with_tpu=False)
  if other is not None:
    raise ClusterError(
      f"the TPU slice has one process, but {other} has started several; give"
      " --coordinator_address, --num_processes and --process_id, or"
      " --num_processes=1"
    )


def _meet(
  others: lost_processes.Peers, address: str | None, seconds: float
) -> None:
  """Connect all processes to process 0, to detect the loss of one."""
  size = 500
  row = np.zeros(size, np.uint8)
  listener, told = None, {}
  if is_first():
    listener = others.listen()
    hosts = [address.rpartition(":")[0].strip("[]")] if address else []
    told = {
      "hosts": [*hosts, *lost_processes.addresses()],
      "port": listener.getsockname()[1],
      "token": secrets.token_hex(16),
    }
    text = json.dumps(told).encode()
    row[: len(text)] = np.frombuffer(text, np.uint8)
  told = json.loads(_first_row(row).tobytes().rstrip(b"\0"))
  if listener is not None:
    others.accept(listener, told["token"], _count - 1, min(seconds, 30))
  else:
    others.connect(told["hosts"], told["port"], told["token"], _index)


def _lost(process: int) -> None:
  _give_up(
    f"process {process} of {_count} ended or cannot be reached, so process"
    f" {_index} stops; process {process}'s output has the reason. Finished"
    " checkpoints are whole: run the same command on all to go on."
  )


def _stopped(process: int, code: int) -> None:
  print(
    f"process {process} of {_count} was asked to end, so process {_index} ends"
    " too; nothing new was saved",
    file=sys.stderr,
    flush=True,
  )
  lost_processes.end_process(code)


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _give_up(message: str) -> None:
  print(f"\nerror: {message}", file=sys.stderr, flush=True)
  lost_processes.end_process(1)


def _first_row(row: np.ndarray) -> np.ndarray:
  return np.asarray(_gather(row))[0]


def _gather(row: np.ndarray) -> jax.Array:
  """Return [processes, len(row)] without waiting; rows have equal length."""
  mesh = _mesh()
  # On a CPU, collectives of two programs can mix in one Gloo connection; other
  # devices run programs in order.
  is_cpu = jax.devices()[0].platform == "cpu"
  if is_cpu:
    for array in jax.live_arrays():
      # Some arrays were donated; a failed one raises again at its next use.
      with contextlib.suppress(RuntimeError):
        array.block_until_ready()
  split = jax.NamedSharding(mesh, P("process"))
  with jax.transfer_guard("allow"), jax.set_mesh(mesh):
    rows = jax.make_array_from_callback(
      (_count, len(row)), split, lambda _: row[None]
    )
    gathered = _replicated()(rows)
  return jax.block_until_ready(gathered) if is_cpu else gathered


@functools.cache
def _mesh() -> jax.sharding.Mesh:
  """Return a mesh with one device of each process."""
  first: dict[int, Any] = {}
  for device in sorted(jax.devices(), key=lambda device: device.id):
    first.setdefault(device.process_index, device)
  devices = np.array([first[process] for process in range(_count)])
  return jax.sharding.Mesh(devices, ("process",))


@functools.cache
def _replicated() -> Callable[[jax.Array], jax.Array]:
  # The jitted function is cached, so that it is compiled once for each shape.
  return jax.jit(lambda x: x, out_shardings=jax.NamedSharding(_mesh(), P()))
