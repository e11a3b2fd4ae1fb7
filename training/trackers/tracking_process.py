"""Process that sends a run's figures to one tracker.

Its standard input has a line about the run, then those of metrics.jsonl, and at
the end {"is_finished": ...}. Where the tracker lacks steps, those of
metrics.jsonl come first. Lines of one step are joined, and sent when the next
step begins, so that each step is sent once, in order. The last step of a run
that is not finished is left to its next start, which may evaluate it.

A tracker's module has a function `begin(about) -> Tracker`, with

  last_step                  the newest step that the tracker has, -1 for none
  url                        where the run is shown, "" where nowhere
  log(step, figures)         send {name: figure}
  close(is_finished=...)     send what waits

No JAX is imported here: a device belongs to the run.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TextIO

from runtime.storage import bucket_path, jsonl

# Seconds for the last lines after the run's process has died.
_ORPHAN_SECONDS = 20.0
_STEP = "step"


class Tracker(Protocol):
  """Run of a tracker; see above."""

  last_step: int
  url: str

  def log(self, step: int, figures: Mapping[str, float]) -> None: ...

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
  # What a client does at exit may wait for a network.
  os._exit(0)


def _send(about: Mapping[str, Any], source: TextIO, say: TextIO) -> None:
  module = importlib.import_module(about["module"])
  tracker: Tracker = module.begin(about)
  if tracker.url and not about["is_quiet"]:
    print(f"{about['name']}: {tracker.url}", file=say)
  history = jsonl.read(bucket_path.make(about["lines"]))
  step, figures = tracker.last_step, dict[str, float]()

  def join(lines: Iterable[Mapping[str, Any]]) -> bool | None:
    """Send the steps of lines; return whether the last one says "finished"."""
    nonlocal step, figures
    for line in lines:
      if _STEP not in line:
        return line["is_finished"]
      # Also those that the file had already.
      if line[_STEP] < step or line[_STEP] <= tracker.last_step:
        continue
      if line[_STEP] > step:
        if figures:
          tracker.log(step, figures)
        step, figures = line[_STEP], {}
      figures |= {
        name: value
        for name, value in line.items()
        if name != _STEP and isinstance(value, int | float)
      }
    return None

  join(sorted(history, key=lambda line: line[_STEP]))
  is_finished = join(map(json.loads, source))
  if is_finished and figures:
    tracker.log(step, figures)
  tracker.close(is_finished=bool(is_finished))


def _end_with(parent: int) -> None:
  """End this process some time after its parent."""
  while os.getppid() == parent:
    time.sleep(0.5)
  time.sleep(_ORPHAN_SECONDS)
  os._exit(1)


if __name__ == "__main__":
  main()
