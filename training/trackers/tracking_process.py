"""Process that sends a run's figures to one tracker.

Its standard input has a line about the run, then those of metrics.jsonl, and at
the end {"is_finished": ...}. Where the tracker lacks steps, those of
metrics.jsonl come first. Lines of one step are joined, and sent when the next
step begins, so that each step is sent once, in order. The last step of a run
that is not finished is left to its next start, which may evaluate it.

A tracker's module has a function `begin(about) -> Tracker`, with

  last_step                  the newest step that the tracker has, -1 for none
  url                        where the run is shown, "" where nowhere
  log(steps)                 send (step, {name: figure}) of one step or more
  close(is_finished=...)     send what waits

No JAX is imported here: a device belongs to the run.
"""

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TextIO

from runtime.storage import bucket_path, jsonl

# Seconds for the last lines after the run's process has died.
_ORPHAN_SECONDS = 30.0
# Lines that are sent at once.
_MOST_LINES = 1000
_STEP = "step"

Step = tuple[int, Mapping[str, float]]


class Tracker(Protocol):
  """Run of a tracker; see above."""

  last_step: int
  url: str

  def log(self, steps: Sequence[Step]) -> None: ...

  def close(self, *, is_finished: bool) -> None: ...


def main() -> None:
  """Send lines until the run ends; say an error, and exit with 1."""
  # The run decides when this process ends.
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
  say = os.fdopen(os.dup(2), "w", buffering=1)
  os.dup2(1, 2)  # clients print to both, and the run's output is its own
  about = json.loads(sys.stdin.readline())
  try:
    _send(about, sys.stdin, say)
  except BaseException as error:
    if not about["is_quiet"]:
      text = " ".join(f"{type(error).__name__}: {error}".split())
      print(
        f"warning: tracker {about['name']} failed ({text[:300]}); the run goes"
        f" on without it, and {about['lines']} has all figures",
        file=say,
      )
    os._exit(1)
  # Exit functions of a client may wait for a network.
  os._exit(0)


def _send(about: Mapping[str, Any], source: TextIO, say: TextIO) -> None:
  module = importlib.import_module(about["module"])
  tracker: Tracker = module.begin(about)
  if tracker.url and not about["is_quiet"]:
    print(f"{about['name']}: {tracker.url}", file=say)
  steps = _Steps(tracker.last_step)
  history = jsonl.read(bucket_path.make(about["lines"]))
  if ready := steps.add(sorted(history, key=lambda line: line[_STEP])):
    tracker.log(ready)
  lines: queue.Queue[Mapping[str, Any] | None] = queue.Queue(_MOST_LINES)
  threading.Thread(target=_read, args=(source, lines), daemon=True).start()
  while True:
    last, batch = None, list(_waiting(lines))
    if _STEP not in (batch[-1] or {}):
      last = batch.pop() or {"is_finished": False}
    if ready := steps.add(line for line in batch if line is not None):
      tracker.log(ready)
    if last is not None:
      if last["is_finished"] and (ready := steps.rest()):
        tracker.log(ready)
      tracker.close(is_finished=last["is_finished"])
      return


class _Steps:
  """Steps of lines, each with its figures once no other line can have more."""

  def __init__(self, last_step: int):
    self._last_step = self._step = last_step
    self._figures: dict[str, float] = {}

  def add(self, lines: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Return the steps that lines complete; those before are left out."""
    ready = []
    for line in lines:
      step = line[_STEP]
      # Lines that the file had already come again.
      if step < self._step or step <= self._last_step:
        continue
      if step > self._step:
        ready += self.rest()
        self._step = step
      self._figures |= {
        name: value
        for name, value in line.items()
        if name != _STEP and isinstance(value, int | float)
      }
    return ready

  def rest(self) -> list[Step]:
    """Return the step that the next line might have been of."""
    figures, self._figures = self._figures, {}
    return [(self._step, figures)] if figures else []


def _read(source: TextIO, lines: queue.Queue[Mapping[str, Any] | None]) -> None:
  """Put all lines into a queue, None at the end."""
  for line in source:
    lines.put(json.loads(line))
  lines.put(None)


def _waiting(
  lines: queue.Queue[Mapping[str, Any] | None],
) -> Iterator[Mapping[str, Any] | None]:
  """Yield the lines that wait, one at least, up to the last one."""
  line = lines.get()
  yield line
  while line is not None and _STEP in line:
    try:
      line = lines.get_nowait()
    except queue.Empty:
      return
    yield line


def _end_with(parent: int) -> None:
  """End this process some time after its parent."""
  while os.getppid() == parent:
    time.sleep(0.5)
  time.sleep(_ORPHAN_SECONDS)
  os._exit(1)


if __name__ == "__main__":
  main()
