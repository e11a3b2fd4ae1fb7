"""Record of a run's starts: command, code, versions, hardware, time, energy.

starts.jsonl in the run's folder has a line for each start, {"start": number,
"time": ..., ...}, and lines {"start": number, "seconds": ..., "energy_j": ...}
with what that start has taken so far; the last one counts. A kill loses a
minute at most. Changes to the commit are in code/DIGEST.diff. No variable of
the environment is recorded.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import pathlib
import platform
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from runtime import cluster, failures, hardware, provenance
from runtime.storage import jsonl, whole_files
from training import metrics

NAME = "starts.jsonl"
CODE = "code"
# Word of a record without energy.
NOT_MEASURED = "not measured"
# Seconds until the first line about time, doubled for each one up to the last.
_FIRST_SECONDS, _LAST_SECONDS = 1.0, 60.0


@dataclasses.dataclass(frozen=True)
class Total:
  """Time and energy of all starts of a run.

  Attributes:
    num_starts: number of starts.
    seconds: from the claim of the folder to the end, of all starts.
    joules: energy by "cpu" and "gpu"; empty unless all starts measured it.
  """

  num_starts: int
  seconds: float
  joules: dict[str, float]

  @property
  def kwh(self) -> float | None:
    """Energy in kWh, None where it was not measured."""
    return sum(self.joules.values()) / 3.6e6 if self.joules else None


@contextlib.contextmanager
def recorded(
  folder: pathlib.Path, first_step: int, began: float
) -> Iterator[dict[str, Any]]:
  """Yield the record of this start, written; write its time until the end.

  Args:
    folder: the run's.
    first_step: step that it goes on from.
    began: time.monotonic() of its begin.
  """
  if not cluster.is_first():
    yield {}
    return
  code = provenance.code()
  record = describe(code)
  path = folder / NAME
  number = 1 + max((line["start"] for line in jsonl.read(path)), default=0)
  if code.diff:
    digest = hashlib.blake2b(code.diff, digest_size=6).hexdigest()
    changes = folder / CODE / f"{digest}.diff"
    changes.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write(changes, code.diff)
    record["diff"] = f"{CODE}/{changes.name}"
  elif code.num_bytes:
    record["diff"] = f"{code.num_bytes:,} bytes, which are not kept"
  if code.untracked:
    record["untracked"] = list(code.untracked)
  clock = _Clock(path, number, began)
  clock.write(
    {
      "start": number,
      "time": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
      "first_step": first_step,
      **record,
    }
  )
  clock.start()
  try:
    yield record
  finally:
    clock.end()


def describe(code: provenance.Code) -> dict[str, Any]:
  """Return command, versions, commit and hardware of this process."""
  return {
    "command": sys.argv,
    "python": platform.python_version(),
    "versions": provenance.versions(),
    "commit": code.commit + ("+changes" if code.num_bytes else ""),
    "hardware": {
      **hardware.describe(),
      "devices": f"{jax.device_count()} {jax.devices()[0].device_kind}",
      "processes": cluster.count(),
    },
  }


def total(folder: pathlib.Path) -> Total | None:
  """Return time and energy of a run, None where it has no record of them."""
  last: dict[int, dict[str, Any]] = {}
  for line in jsonl.read(folder / NAME):
    last.setdefault(line["start"], {}).update(line)
  if not last:
    return None
  energies = [line.get("energy_j", NOT_MEASURED) for line in last.values()]
  kinds = {tuple(x) if isinstance(x, dict) else () for x in energies}
  is_measured = len(kinds) == 1 and () not in kinds
  return Total(
    len(last),
    sum(line.get("seconds", 0.0) for line in last.values()),
    {name: sum(x[name] for x in energies) for name in energies[0]}
    if is_measured
    else {},
  )


def facts(folder: pathlib.Path) -> dict[str, str]:
  """Return the facts of a run's last start, and the cost of all, in words."""
  lines = [line for line in jsonl.read(folder / NAME) if "versions" in line]
  cost = total(folder)
  if not lines or cost is None:
    return {}
  line = lines[-1]
  machine = line["hardware"]
  commit, _, changes = line["commit"].partition("+")
  return {
    "machine": f"{machine['cpu']}, {machine['cores']} cores,"
    f" {machine['memory_gib']} GiB",
    "processes": str(machine["processes"]),
    "wall time": f"{datetime.timedelta(seconds=round(cost.seconds))} in"
    f" {cost.num_starts} start{'s' * (cost.num_starts > 1)}",
    "energy": energy(cost),
    "command": shlex.join(line["command"]),
    "python": line["python"],
    **line["versions"],
    "commit": (commit[:12] or "unknown")
    + (f" and {line.get('diff', changes)}" if changes else ""),
  }


def energy(cost: Total) -> str:
  """Return the measured energy in words."""
  if cost.kwh is None:
    return NOT_MEASURED
  return f"{shown_kwh(cost.kwh)} kWh ({', '.join(cost.joules)})"


def shown_kwh(kwh: float | None) -> str:
  """Return an energy for a table."""
  return NOT_MEASURED if kwh is None else f"{kwh:.3g}"


class _Clock:
  """Thread that writes the time and energy of a start."""

  def __init__(self, path: pathlib.Path, number: int, began: float):
    self._lines = jsonl.writer(path)
    self._number, self._began = number, began
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._energy: hardware.Energy | None = None
    if cluster.count() == 1:  # otherwise on several machines
      gpus = [x for x in jax.local_devices() if x.platform == "gpu"]
      self._energy = hardware.Energy(len(gpus))

  def write(self, line: dict[str, Any]) -> None:
    self._lines.write(line)

  def start(self) -> None:
    self._thread.start()

  def end(self) -> None:
    self._ended.set()
    self._thread.join()

  def _run(self) -> None:
    wait = _FIRST_SECONDS
    try:
      self._lines.sync()
      while not self._ended.wait(wait):
        self._write_time()
        wait = min(2 * wait, _LAST_SECONDS)
      self._write_time()
      self._lines.close()
    except Exception as error:  # no figure of a run depends on it
      if not failures.is_disk_full(error):  # that ends the run, with a message
        metrics.say(f"warning: {NAME} could not be written: {error}")

  def _write_time(self) -> None:
    joules = self._energy.joules() if self._energy else {}
    self._lines.write(
      {
        "start": self._number,
        "seconds": round(time.monotonic() - self._began, 3),
        "energy_j": {k: round(v, 3) for k, v in joules.items()} or NOT_MEASURED,
      }
    )
