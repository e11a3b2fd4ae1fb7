"""Detection, within a second or so, that another process of the run ended.

A process that was asked to end says so with its exit code, which the others
take over.

JAX's own heartbeat does not replace it: even with heartbeat_timeout_seconds=10
the other processes go on for 10 s, then abort in C++ (exit code 134) with a
stack trace instead of a message (jax 0.10.2).

Each process keeps an idle connection to process 0. When a process is killed,
its kernel closes the connection; when a machine falls silent, TCP's keepalive
does. Process 0 then tells the others.
"""

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

# Seconds to wait after the loss of a process, since the signal that stopped it
# may be about to reach this process too.
_GRACE = 1.0
# Seconds, seconds and number of TCP's keepalive probes: a silent machine counts
# as lost after 10 + 4 x 5 s.
_IDLE, _INTERVAL, _PROBES = 10, 5, 4
_BYE, _LOST, _STOP = b"bye", b"lost", b"stop"


class Peers:
  """Connections to other processes, watched by a thread."""

  def __init__(
    self,
    on_lost: Callable[[int], None],
    on_stop: Callable[[int, int], None],
  ):
    """Begin without connections.

    Args:
      on_lost: function called once, in a thread, with the id of a lost process.
      on_stop: function called in a thread with the id and the exit code of a
        process that called `stop`.
    """
    self._on_lost = on_lost
    self._on_stop = on_stop
    self._selector = selectors.DefaultSelector()
    self._sockets: dict[int, socket.socket] = {}
    self._said_bye: set[int] = set()
    self._leaving = False
    self._lost = threading.Event()

  def listen(self) -> socket.socket:
    """Open the socket that `accept` waits on (process 0)."""
    if socket.has_dualstack_ipv6():
      return socket.create_server(
        ("", 0), family=socket.AF_INET6, dualstack_ipv6=True
      )
    return socket.create_server(("", 0))

  def accept(
    self, listener: socket.socket, token: str, num_peers: int, seconds: float
  ) -> None:
    """Accept the connections that begin with `token`, then watch them."""
    deadline = time.monotonic() + seconds
    with listener:
      while len(self._sockets) < num_peers:
        listener.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
          connection, _ = listener.accept()
        except TimeoutError:
          break  # JAX's heartbeat still covers processes not connected here
        process = _introduced(connection, token)
        if process is None:
          connection.close()
        else:
          self._add(process, connection)
    self._start()

  def connect(
    self, hosts: Sequence[str], port: int, token: str, process: int
  ) -> None:
    """Connect to process 0 by the first name that answers, then watch it."""
    for host in hosts:
      try:
        connection = socket.create_connection((host, port), timeout=5)
        connection.sendall(f"{token} {process}\n".encode())
      except OSError:
        continue
      self._add(0, connection)
      break
    self._start()

  def wait_lost(self) -> None:
    """Wait for the thread to detect a lost process."""
    if self._lost.wait(_GRACE):
      time.sleep(_GRACE + 10)  # `on_lost` ends the process before that

  def leave(self) -> None:
    """Tell the others that this process ends normally."""
    self._leaving = True
    self._tell(_BYE)

  def stop(self, process: int, code: int) -> None:
    """Tell the others that a process was asked to end, and they with it."""
    self._leaving = True
    self._tell(b"%s %d %d" % (_STOP, process, code))

  def _add(self, process: int, connection: socket.socket) -> None:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
      ("TCP_KEEPIDLE", _IDLE),
      ("TCP_KEEPINTVL", _INTERVAL),
      ("TCP_KEEPCNT", _PROBES),
    ):
      if hasattr(socket, name):  # missing on other systems
        option = getattr(socket, name)
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    self._sockets[process] = connection
    self._selector.register(connection, selectors.EVENT_READ, process)

  def _start(self) -> None:
    threading.Thread(target=self._watch, name="peers", daemon=True).start()

  def _watch(self) -> None:
    while self._selector.get_map():
      for key, _ in self._selector.select():
        lost = self._read(key.data, self._sockets[key.data])
        if lost is not None and not self._leaving:
          self._lost.set()
          self._tell(b"%s %d" % (_LOST, lost))
          if lost:  # not if process 0 is lost: JAX soon ends this process
            time.sleep(_GRACE)
          self._on_lost(lost)
          return

  def _read(self, process: int, connection: socket.socket) -> int | None:
    """Return the process that a connection reports as lost, or None."""
    try:
      data = connection.recv(100)
    except OSError:
      data = b""
    if not data:
      self._selector.unregister(connection)
      return None if process in self._said_bye else process
    for line in data.splitlines():
      if line == _BYE:
        self._said_bye.add(process)
      elif line.startswith(_STOP):
        stopped, code = map(int, line.split()[1:])
        if not self._leaving:
          self.stop(stopped, code)  # process 0 tells those that are left
          self._on_stop(stopped, code)
      elif line.startswith(_LOST):
        return int(line.split()[1])
    return None

  def _tell(self, line: bytes) -> None:
    for connection in self._sockets.values():
      with contextlib.suppress(OSError):  # the other process has ended
        connection.sendall(line + b"\n")


def _introduced(connection: socket.socket, token: str) -> int | None:
  """Return the process that has connected, None for a stranger."""
  connection.settimeout(5)
  line = b""
  try:
    while not line.endswith(b"\n") and len(line) < 100:
      byte = connection.recv(1)
      if not byte:
        return None
      line += byte
    got, process = line.decode().split()
    return int(process) if got == token else None
  except (OSError, ValueError):
    return None


def addresses() -> list[str]:
  """Return names by which other machines may reach this one."""
  names = [socket.gethostname()]
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
      probe.connect(("10.255.255.255", 1))  # UDP: nothing is sent
      names.insert(0, probe.getsockname()[0])
    except OSError:
      pass  # no network: only this machine can connect
  return [*names, "127.0.0.1"]


def end_process(code: int) -> None:
  """End at once: a normal exit of JAX would wait for the other processes."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
