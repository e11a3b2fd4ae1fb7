"""Trackers that a run's figures are sent to, each by a process of its own.

The run's folder stays the record: a tracker is a copy of metrics.jsonl, which
nothing waits for. Its client runs in another process (tracking_process.py), so
that an error, a lost network or a client that hangs reaches no training step:
lines wait in a bounded queue, and when that is full, or the process has ended,
one line says so and the run goes on. Such a tracker is started anew after the
next checkpoint, and at the next start of the run; it then reads from
metrics.jsonl what it lacks.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runtime import checks, cluster, marks
from runtime.storage import bucket_path, strict_json, whole_files
from training import metrics

# Names of trackers, which are those of their packages; NAME_tracker.py uses it.
NAMES = ("wandb", "trackio", "mlflow")
# File in the run's folder with what identifies it for all trackers.
ID = "tracker_id.txt"
_ROOT = pathlib.Path(__file__).parent.parent.parent
# Lines that wait for a tracker.
_MOST_LINES = 10_000
# Least seconds between two starts of a tracker.
_RETRY_SECONDS = 60.0
# Seconds that trackers have to send the last lines: of a finished run, and of
# one that was asked to end.
_LAST_SECONDS, _STOPPED_SECONDS = 30.0, 5.0


@dataclasses.dataclass(frozen=True)
class TrackersConfig:
  """Fields of `config.trackers`; configs/base.py explains them."""

  names: marks.Local[tuple[str, ...]] = ()
  project: marks.Local[str] = "diptych"
  run_name: marks.Local[str] = ""

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    for name in self.names:
      checks.one_of("trackers.names", name, NAMES)
    if len(set(self.names)) < len(self.names):
      checks.refuse(
        f"trackers.names must name each tracker once; got {self.names}"
      )
    if self.names and not self.project:
      checks.refuse('trackers.project must be a name; got ""')

  def check_installed(self) -> None:
    """Raise ValueError where the package of a tracker is not installed."""
    for name in self.names:
      if not cluster.is_first():
        return
      spec = importlib.util.find_spec(name)
      # A folder that a client made in this one is a spec without origin.
      if spec is None or spec.origin is None:
        checks.refuse(
          f"trackers.names must name trackers that are installed; got {name!r},"
          f" without its package {name}: pip install -r"
          " requirements-trackers.txt"
        )


class Trackers:
  """Trackers of a run; without any, and on other processes, nothing."""

  def __init__(
    self,
    config: TrackersConfig,
    lines: pathlib.Path,
    run: Mapping[str, Mapping[str, Any]],
    *,
    modules: Mapping[str, str] | None = None,
  ):
    """Start the trackers' processes; none is waited for.

    Args:
      config: names of trackers, and how the run is called there.
      lines: metrics.jsonl in the run's folder.
      run: "config" and "record" of the run, ready for JSON.
      modules: name of a tracker -> its module; None: those of `config`.
    """
    self._senders: list[_Sender] = []
    if not cluster.is_first():
      return
    if modules is None:
      modules = {
        name: f"training.trackers.{name}_tracker" for name in config.names
      }
    if not modules:
      return
    is_bucket = isinstance(lines, bucket_path.BucketPath)
    about = {
      "id": _id(lines.parent),
      "project": config.project,
      "run_name": config.run_name or lines.parent.name,
      # A client's own files lie in the run's folder, if that is on a disk.
      "files": "" if is_bucket else str(lines.parent.absolute()),
      "lines": str(lines if is_bucket else lines.absolute()),
      **run,
    }
    self._senders = [
      _Sender(name, module, about) for name, module in modules.items()
    ]

  def write(self, step: int, figures: Mapping[str, float]) -> None:
    """Send the figures of a step; returns at once."""
    if self._senders:
      line = strict_json.dumps({"step": step} | dict(figures))
      for sender in self._senders:
        sender.send(line)

  def sync(self) -> None:
    """Start those anew that ended; called when metrics.jsonl has all lines."""
    for sender in self._senders:
      sender.restart()

  def close(
    self,
    *,
    is_finished: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
  ) -> None:
    """Let the trackers send the last lines, for a limited time; end them.

    Args:
      is_finished: whether no further start of the run follows.
      should_stop: function that returns whether the time is cut short.
    """
    for sender in self._senders:
      sender.end(is_finished=is_finished)
    seconds = _LAST_SECONDS if is_finished else _STOPPED_SECONDS
    deadline = time.monotonic() + seconds
    for sender in self._senders:
      while sender.is_alive() and time.monotonic() < deadline:
        if should_stop():
          deadline = min(deadline, time.monotonic() + _STOPPED_SECONDS)
        time.sleep(0.02)
      sender.kill()
    self._senders = []


class _Sender:
  """Queue of lines, a thread that sends them, and the process that it feeds."""

  def __init__(self, name: str, module: str, about: Mapping[str, Any]):
    self._name, self._module, self._about = name, module, about
    self._has_warned = False
    self._is_ending = False
    self._started = 0.0
    self._start()

  def _start(self) -> None:
    # A queue of its own for each process: a thread that waits for a dead one
    # ends with it.
    self._lines: queue.Queue[str] = queue.Queue(_MOST_LINES)
    self._started = time.monotonic()
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    self._process = subprocess.Popen(
      (sys.executable, "-P", "-m", "training.trackers.tracking_process"),
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      # Ctrl-C at the terminal is for the run, which then ends this process.
      start_new_session=True,
      env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
      text=True,
    )
    about = {
      **self._about,
      "name": self._name,
      "module": self._module,
      "is_quiet": self._has_warned,
    }
    self._lines.put(strict_json.dumps(about))
    threading.Thread(
      target=_feed, args=(self._lines, self._process), daemon=True
    ).start()

  def send(self, line: str) -> None:
    if not self.is_alive():
      return
    try:
      self._lines.put_nowait(line)
    except queue.Full:
      self._process.kill()
      self._warn(f"does not take {_MOST_LINES:,} lines that wait for it")

  def is_alive(self) -> bool:
    code = self._process.poll()
    if code is not None and code != 0 and not self._is_ending:
      # Errors are told by the process itself (tracking_process.FAILED).
      self._has_warned |= code == 1
      self._warn(f"ended (exit code {code})")
    return code is None

  def restart(self) -> None:
    waited = time.monotonic() - self._started
    if not self.is_alive() and waited > _RETRY_SECONDS:
      self._start()

  def end(self, *, is_finished: bool) -> None:
    self._is_ending = True
    with contextlib.suppress(queue.Full):
      self._lines.put_nowait(strict_json.dumps({"is_finished": is_finished}))

  def kill(self) -> None:
    if self._process.poll() is None:
      self._process.kill()
      self._warn("did not take the last lines in time")
    self._process.wait()

  def _warn(self, problem: str) -> None:
    if not self._has_warned:
      self._has_warned = True
      metrics.say(
        f"warning: tracker {self._name} {problem}; the run goes on without it,"
        f" and {self._about['lines']} has all figures"
      )


def _feed(lines: queue.Queue[str], process: subprocess.Popen[str]) -> None:
  """Write lines to a process until it ends."""
  assert process.stdin is not None
  try:
    while process.poll() is None:
      with contextlib.suppress(queue.Empty):
        process.stdin.write(lines.get(timeout=1.0) + "\n")
        process.stdin.flush()
  except OSError:
    pass  # it ended; `is_alive` tells
  with contextlib.suppress(OSError):
    process.stdin.close()


def _id(folder: pathlib.Path) -> str:
  """Return what identifies the run in all trackers, made at its first start."""
  path = folder / ID
  try:
    return path.read_text().strip()
  except FileNotFoundError:
    made = secrets.token_hex(4)
    whole_files.write(path, made.encode() + b"\n")
    return made
