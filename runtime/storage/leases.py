"""Claims of folders in a bucket: leases with an owner and a heartbeat.

A bucket has no locks. The object `.lock` names the owner of a folder, who
writes it anew every BEAT_SECONDS. Each write names the version that it
replaces, so that of two processes one is refused. A claim that was not renewed
for LEASE_SECONDS is that of a dead owner, and is taken over; so is one of a
process of this machine that is gone. An owner whose claim was taken (it was
stopped for longer, say) ends at once: its next write could spoil the folder.
"""

import contextlib
import datetime
import json
import os
import pathlib
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from absl import logging

from runtime import failures
from runtime.storage import bucket_path, objects

BEAT_SECONDS = 10.0
# Long enough for five lost beats: a process that computes may be late.
LEASE_SECONDS = 60.0
_POLL_SECONDS = 1.0
_FREE = b'{"owner": null}\n'
# Address -> (version, time of this process at which it was first seen).
_seen: dict[str, tuple[str, float]] = {}


class HeldError(failures.RunError):
  """Refusal of a claim, since another owner is alive."""


@contextlib.contextmanager
def claim(
  lock: bucket_path.BucketPath,
  named: str,
  on_lost: Callable[[str], None] | None = None,
) -> Iterator[str]:
  """Claim a folder of a bucket while the context lasts.

  Args:
    lock: object that names the owner.
    named: the flag and its value, for messages.
    on_lost: called in a thread, with a message, once the claim was taken by
      another owner; ends the process by default.

  Yields:
    Token in the object.

  Raises:
    RunError: another run is alive, which is named, or the bucket cannot be
      written.
  """
  owner = _myself()
  try:
    version = _acquire(str(lock), owner, named)
  except objects.ConflictError:
    raise
  except objects.BucketError as error:
    raise failures.RunError(f"{named}: {error}") from error
  heart = _Heart(str(lock), owner, version, on_lost or _end)
  try:
    yield owner["token"]
  finally:
    heart.stop(named)


def token(lock: pathlib.Path) -> str:
  """Return the token of the owner that a lock's object names; "" without."""
  return str(_owner(lock.read_bytes()).get("token", ""))


def is_held(lock: pathlib.Path) -> bool:
  """Return whether the owner that a lock's object names may be alive."""
  stored = objects.read(str(lock))
  other = {} if stored is None else _owner(stored.data)
  if stored is None or not other:
    return False
  if _is_here(other):
    return _is_running(other)
  version, since = _seen.get(str(lock), ("", 0.0))
  if version != stored.version:
    since = time.monotonic()
    _seen[str(lock)] = (stored.version, since)
  return max(stored.age, time.monotonic() - since) < LEASE_SECONDS


def identity(process: int) -> dict[str, Any]:
  """Return facts that tell a process of this machine from all others."""
  return {
    "host": socket.gethostname(),
    "process": process,
    "machine": _machine(),
    "process_start": _start_of(process),
  }


def is_alive_here(identity_: Mapping[str, Any]) -> bool:
  """Return whether an `identity` is a living process's of this machine."""
  return _is_here(identity_) and _is_running(identity_)


def _myself() -> dict[str, Any]:
  now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds")
  token_ = {"token": secrets.token_hex(16), "started": now}
  return token_ | identity(os.getpid())


def _acquire(url: str, owner: dict[str, Any], named: str) -> str:
  """Write a claim; wait for one that may be a dead owner's to expire."""
  first_version: str | None = None
  since = time.monotonic()
  while True:
    stored = objects.read(url)
    version = objects.ABSENT if stored is None else stored.version
    other = {} if stored is None else _owner(stored.data)
    if stored is not None and other and not _is_dead_here(other):
      if is_alive_here(other) or first_version not in (None, version):
        raise HeldError(
          f"{named} is in use by another run ({_described(other)}); wait for"
          " it, or give another folder"
        )
      is_new = first_version is None
      if is_new:
        first_version, since = version, time.monotonic()
      age = max(stored.age, time.monotonic() - since)
      if age < LEASE_SECONDS:
        if is_new:
          _say(
            f"{named} was claimed {age:.0f} s ago by {_described(other)};"
            f" waiting for up to {LEASE_SECONDS - age:.0f} s to see whether"
            " that run is alive"
          )
        time.sleep(_POLL_SECONDS)
        continue
    try:
      return objects.write(url, _text(owner, 0), replaces=version)
    except objects.ConflictError:
      continue  # another process was faster, and is seen in the next turn


def _text(owner: dict[str, Any], beat: int) -> bytes:
  return json.dumps({"owner": owner, "beat": beat}, indent=2).encode() + b"\n"


def _owner(data: bytes) -> dict[str, Any]:
  """Return the owner that a lock names, {} where it is free or damaged."""
  try:
    owner = json.loads(data)["owner"]
  except (ValueError, KeyError, TypeError):
    return {}
  return owner if isinstance(owner, dict) else {}


def _described(owner: dict[str, Any]) -> str:
  return (
    f"host {owner.get('host')}, process {owner.get('process')}, since"
    f" {owner.get('started')}"
  )


def _is_dead_here(owner: Mapping[str, Any]) -> bool:
  """Return whether an owner was a process of this machine that is gone."""
  return _is_here(owner) and not _is_running(owner)


def _is_here(owner: Mapping[str, Any]) -> bool:
  machine = _machine()
  return bool(machine) and owner.get("machine") == machine


def _is_running(owner: Mapping[str, Any]) -> bool:
  # A number may be another process's by now; its start tells them apart.
  start = _start_of(int(owner.get("process", 0)))
  return bool(start) and start == owner.get("process_start")


def _machine() -> str:
  """Return the boot and the process ids that an id belongs to; "" unknown."""
  try:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"
  except OSError:
    return ""


def _start_of(process: int) -> str:
  """Return the time at which a process started, "" if it is gone."""
  try:
    text = pathlib.Path(f"/proc/{process}/stat").read_text()
  except OSError:
    return ""
  # The name, in brackets, may have spaces.
  state, *fields = text.rpartition(")")[2].split()
  return "" if state in "ZX" else fields[18]


class _Heart:
  """Thread that renews a claim."""

  def __init__(
    self,
    url: str,
    owner: dict[str, Any],
    version: str,
    on_lost: Callable[[str], None],
  ):
    self._url, self._owner, self._version = url, owner, version
    self._on_lost = on_lost
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True)
    self._thread.start()

  def stop(self, named: str) -> None:
    """Stop the thread and free the claim."""
    self._stopped.set()
    self._thread.join(objects.TRY_SECONDS)
    try:
      objects.write(self._url, _FREE, replaces=self._version)
    except objects.BucketError as error:
      # It expires; the work in the folder is done.
      logging.warning("The claim of %s was not freed: %s", named, error)

  def _beat(self) -> None:
    beat = 0
    while not self._stopped.wait(BEAT_SECONDS):
      beat += 1
      try:
        self._version = objects.write(
          self._url, _text(self._owner, beat), replaces=self._version
        )
      except objects.ConflictError:
        if self._is_lost():
          return
      except Exception as error:  # the bucket may answer again
        logging.warning("The claim of %s was not renewed: %s", self._url, error)

  def _is_lost(self) -> bool:
    """Return whether another owner has the claim; end this one then."""
    try:
      stored = objects.read(self._url)
    except objects.BucketError:
      return False
    if stored is None:  # deleted by hand
      self._version = objects.ABSENT
      return False
    other = _owner(stored.data)
    if other.get("token") == self._owner["token"]:
      self._version = stored.version
      return False
    self._on_lost(
      f"{self._url.rpartition('/')[0]} was claimed by another run"
      f" ({_described(other)}) while this one did not answer; ending"
    )
    return True


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


def _end(message: str) -> None:
  """End the process at once: the folder is another's."""
  _say(message)
  os._exit(1)
