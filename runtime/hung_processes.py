"""Watchdog of processes that hang: alive, but not in step with the others.

A stopped process, or one in an endless loop, lets all others wait in a
collective for ever. Each process therefore sends a beat, its phase and the time
it is in it, to the store of keys of JAX's coordination service. Where a process
waits for too long, it prints a line that names who is in which phase, writes
its own stacks to a file, and after another limit ends.

runtime/lost_processes.py is about processes that have ended.
"""

import collections
import contextlib
import dataclasses
import faulthandler
import json
import os
import pathlib
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runtime import checks, cluster, marks
from runtime.storage import whole_files

# Phases of a step: waiting for devices or other processes, and for data. Others
# may take any time.
STEP, READING = "waiting", "reading data"
# Steps before one is judged by their median.
_NUM_FIRST = 3
# Steps that the median is taken of.
_NUM_STEPS = 100
# Most processes named in a line.
_NUM_NAMED = 8
# Least and most seconds between two beats.
_LEAST, _MOST = 0.2, 5.0


@dataclasses.dataclass(frozen=True)
class HangConfig:
  """Fields of `config.hang`; configs/base.py explains them."""

  medians: marks.Free[float] = 20.0
  least_seconds: marks.Free[float] = 60.0
  end_seconds: marks.Free[float] = 600.0

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    checks.at_least("hang.medians", self.medians, 0)
    checks.at_least("hang.least_seconds", self.least_seconds, 1)
    checks.at_least("hang.end_seconds", self.end_seconds, 0)
    total = self.least_seconds + self.end_seconds
    if total > cluster.HEARTBEAT_SECONDS / 2:
      checks.refuse(
        "hang.least_seconds + hang.end_seconds must be at most"
        f" {cluster.HEARTBEAT_SECONDS // 2}; got {total:g}"
      )


@dataclasses.dataclass(frozen=True)
class Beat:
  """Message of a process about itself.

  Attributes:
    number: number of the message, from 1 on.
    host: name of its machine.
    pid: its process id there.
    phase: such as "reading data".
    step: updates that it has made.
    seconds: time that it has been in the phase.
  """

  number: int
  host: str
  pid: int
  phase: str
  step: int
  seconds: float


class Watchdog:
  """Phases and steps of this process, and the beats of the others."""

  def __init__(
    self,
    config: HangConfig,
    folder: pathlib.Path,
    exit_code: Callable[[], int],
    now: Callable[[], float] = time.monotonic,
  ):
    """Watch nothing yet.

    Args:
      config: its limits.
      folder: folder that stacks are written to.
      exit_code: function that returns the code to end with.
      now: clock, in seconds.
    """
    self._config, self._folder = config, folder
    self._exit_code, self._now = exit_code, now
    self._phase, self._since, self._step = STEP, now(), 0
    # End of the last step, as if saves and evaluations took no time.
    self._ended: float | None = None
    self._steps: collections.deque[float] = collections.deque(maxlen=_NUM_STEPS)
    self._num_sent = 0
    # Last beat of each process, and when it came; last answer of the store.
    self._beats: dict[int, tuple[Beat, float]] = {}
    self._answered = now()
    # Start of the hang that was reported last.
    self._reported: float | None = None
    self._stop = threading.Event()

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """Be in another phase than STEP within this context."""
    start = self._now()
    self._phase, self._since = name, start
    try:
      yield
    finally:
      self._phase, self._since = STEP, self._now()
      if name != READING and self._ended is not None:
        self._ended += self._since - start

  def end_step(self, step: int) -> None:
    """Note that results have come, and that `step` updates were made."""
    now = self._now()
    if self._ended is not None:
      self._steps.append(now - self._ended)
    self._step, self._ended, self._since = step, now, now

  @contextlib.contextmanager
  def watching(self) -> Iterator[None]:
    """Watch in threads; do nothing where there is one process, or no limit."""
    if cluster.count() == 1 or not self._config.medians:
      yield
      return
    self._since = self._answered = self._now()
    seconds = min(max(self._config.least_seconds / 10, _LEAST), _MOST)
    # Two threads: the first one waits while process 0, which has the store, is
    # stopped.
    for target in (self._exchange, self._watch):
      threading.Thread(
        target=target, args=(seconds,), name="hang", daemon=True
      ).start()
    try:
      yield
    finally:
      self._stop.set()

  def _exchange(self, seconds: float) -> None:
    while not self._stop.wait(seconds):
      with contextlib.suppress(Exception):  # no answer
        cluster.put(f"beat/{cluster.index()}", json.dumps(self.beat()))
        self.hear(cluster.all_put("beat/"))

  def beat(self) -> dict[str, Any]:
    """Return the next message of this process."""
    self._num_sent += 1
    return dataclasses.asdict(self._own())

  def hear(self, texts: Mapping[str, str]) -> None:
    """Note an answer of the store: {"1": message of process 1, ...}."""
    now = self._answered = self._now()
    for process, text in texts.items():
      beat = Beat(**json.loads(text))
      before = self._beats.get(int(process))
      if before is None or before[0].number != beat.number:
        self._beats[int(process)] = beat, now

  def _own(self) -> Beat:
    return Beat(
      number=self._num_sent,
      host=socket.gethostname(),
      pid=os.getpid(),
      phase=self._phase,
      step=self._step,
      seconds=self._now() - self._since,
    )

  def _watch(self, seconds: float) -> None:
    last = self._now()
    while not self._stop.wait(seconds):
      gap = self._now() - last - seconds
      if gap > seconds:  # this process was stopped
        self.skip(gap)
      last = self._now()
      line, ends = self.judge()
      if line:
        _say(line)
      if line and self._reported is not None and not ends:
        threading.Thread(target=self._write_stacks, daemon=True).start()
      if ends:
        cluster.end_all(self._exit_code())

  def skip(self, seconds: float) -> None:
    """Leave out a time in which this process did not run."""
    self._since += seconds
    self._answered += seconds
    if self._ended is not None:
      self._ended += seconds
    self._beats = {
      process: (beat, came + seconds)
      for process, (beat, came) in self._beats.items()
    }

  def judge(self) -> tuple[str, bool]:
    """Return a line about a hang that begins or ends, and whether to end.

    The line is "" where there is nothing new.
    """
    reason, now = self._reason(), self._now()
    me = f"process {cluster.index()} of {cluster.count()}"
    if not reason:
      if self._reported is None:
        return "", False
      self._reported = None
      return f"{me}: no process hangs any more; going on", False
    if self._reported is None:
      self._reported = now
      return (
        f"{me}: {reason}: {self._who()}. Stacks of this process:"
        f" {self._stacks}",
        False,
      )
    limit = self._config.end_seconds
    if not limit or now - self._reported < limit:
      return "", False
    return (
      f"{me} ends, since {reason} (hang.end_seconds={limit:g}): {self._who()}",
      True,
    )

  def _reason(self) -> str:
    """Return why this process takes the run to hang; "" if it does not."""
    now, least = self._now(), self._config.least_seconds
    if silent := self._silent(now):
      names = ", ".join(map(str, silent[:_NUM_NAMED]))
      return f"no sign of process {names} for {least:g} s"
    if self._ended is None or len(self._steps) < _NUM_FIRST:
      return ""
    if self._phase not in (STEP, READING):
      return ""
    median = statistics.median(self._steps)
    seconds = now - self._ended
    if seconds <= max(least, self._config.medians * median):
      return ""
    return f"no step ended for {seconds:.0f} s (median {median:.3g} s)"

  def _silent(self, now: float) -> list[int]:
    least = self._config.least_seconds
    if now - self._answered > least:
      return [0]  # has the store: of the others nothing is known
    return [
      process
      for process, (_, came) in sorted(self._beats.items())
      if now - came > least and process != cluster.index()
    ]

  def _who(self) -> str:
    """Return who is in which phase, first those that others wait for."""
    now = self._now()
    silent = self._silent(now)
    beats = self._beats | {cluster.index(): (self._own(), now)}
    order = sorted(
      beats,
      key=lambda process: (
        process not in silent,
        beats[process][0].phase == STEP,
        process,
      ),
    )
    parts = []
    for process in order[:_NUM_NAMED]:
      beat, came = beats[process]
      seconds = now - came + beat.seconds
      name = f"process {process} (host {beat.host}, pid {beat.pid})"
      doing = f"{beat.phase} after step {beat.step}"
      parts.append(
        f"{name} sent nothing for {now - came:.0f} s, last {doing}"
        if process in silent
        else f"{name} {doing} for {seconds:.0f} s"
      )
    left = len(order) - _NUM_NAMED
    return "; ".join(parts) + (f"; {left} more" if left > 0 else "")

  @property
  def _stacks(self) -> pathlib.Path:
    return self._folder / f"process_{cluster.index()}.txt"

  def _write_stacks(self) -> None:
    with tempfile.TemporaryFile() as file, contextlib.suppress(OSError):
      faulthandler.dump_traceback(file, all_threads=True)
      file.seek(0)
      self._folder.mkdir(parents=True, exist_ok=True)
      whole_files.write(self._stacks, file.read())


def _say(text: str) -> None:
  print(f"\n{text}", file=sys.stderr, flush=True)
