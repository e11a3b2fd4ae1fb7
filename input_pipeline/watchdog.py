"""How much of the time the step waits for data, and which stage is to blame."""

import collections
import contextlib
import dataclasses
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from input_pipeline import clocks, pipeline

# A run that waits less has at least 90 % of the speed that it could have.
WARN_FRACTION = 0.1
# Of the time that a warning is about: evaluations and saves are shorter.
_WINDOW_SECONDS = 60.0
# Between two warnings: advice that is not followed is not wanted.
_QUIET_SECONDS = 600.0
# Threads that are named when nothing comes, those first that are stuck longest.
_NUM_NAMED = 8
# A stall is noticed this late, as a part of data.stall_seconds.
_POLL = 0.25


@contextlib.contextmanager
def watch(
  config: pipeline.Data,
  say: Callable[[str], object] | None = None,
) -> Iterator["Watchdog"]:
  """Yield the watchdog of a loop; its threads and files end with the context.

  Args:
    config: whose batches are waited for.
    say: takes a line for people, also from another thread; None: to stderr of
      every process, for all wait for the one that gets no data.
  """
  with tempfile.TemporaryDirectory(
    prefix="diptych-stages-", ignore_cleanup_errors=True
  ) as folder:
    watchdog = Watchdog(config, folder, say or _say)
    stop = threading.Event()
    if config.stall_seconds:
      threading.Thread(
        target=watchdog.look_for_stalls, args=(stop,), daemon=True
      ).start()
    try:
      yield watchdog
    finally:
      stop.set()
      watchdog.close()


@dataclasses.dataclass
class _Window:
  """What came about since a time."""

  start: float
  waited: float = 0.0
  # Of `waited`, when the batch was already made.
  transferred: float = 0.0
  num_examples: int = 0
  seconds: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros(len(clocks.STAGES))
  )


class Watchdog:
  """Fetches a loop's batches and measures how long the device had none."""

  def __init__(
    self,
    config: pipeline.Data,
    folder: str,
    say: Callable[[str], object],
    now: Callable[[], float] = time.monotonic,
  ):
    self.clocks = clocks.Clocks(folder)  # for pipeline.make_train_dataset
    self._config = config
    self._say = say
    self._now = now
    self._finisher = _Finisher(now)
    # None until the first batch, which waits for workers to start.
    self._recent: _Window | None = None  # since the last `report`
    self._window: _Window | None = None  # a warning's
    self._last_warning = -_QUIET_SECONDS
    self._waiting_since: float | None = None
    self._stall: tuple[float, int] = (0.0, 0)  # the wait, and lines about it

  def next(
    self,
    iterator: Iterator[dict[str, Any]],
    finished: Callable[[], object] | None = None,
  ) -> dict[str, Any]:
    """Return the next batch without its clocks.

    Args:
      iterator: of make_train_dataset(clocks=self.clocks).
      finished: returns when the device has done the step before. Waiting for
        data costs nothing until then, though the host waits. None: at once.
    """
    start = self._now()
    done = self._finisher.wait_for(finished)
    self._waiting_since = start
    try:
      batch = next(iterator)
    finally:
      self._waiting_since = None
    end = self._now()
    idle_since = done[0] if done else end
    self._add(max(start, idle_since), end, clocks.pop(batch))
    return batch

  def _add(self, start: float, end: float, work: clocks.Work | None) -> None:
    """Count a batch that the device waited for from `start` to `end`."""
    if self._recent is None or self._window is None:
      self._recent, self._window = _Window(end), _Window(end)
      return
    for window in (self._recent, self._window):
      window.waited += max(end - start, 0)
      if work is not None:
        window.transferred += max(end - max(start, work.assembled), 0)
        window.num_examples += work.num_examples
        window.seconds += work.seconds

  def report(self) -> dict[str, float]:
    """Return metrics since the last call; say so if data are too slow.

    "data/wait_fraction" of the time, and milliseconds an example of each stage,
    summed over threads ("data/image_ms").
    """
    now = self._now()
    recent, window = self._recent, self._window
    if recent is None or window is None or now <= recent.start:
      return {}
    self._recent = _Window(now)
    if now - window.start >= _WINDOW_SECONDS:
      self._window = _Window(now)
      fraction = window.waited / (now - window.start)
      if (
        fraction > WARN_FRACTION and now - self._last_warning >= _QUIET_SECONDS
      ):
        self._last_warning = now
        self._say(_warning(self._config, window, now))
    values = {"data/wait_fraction": recent.waited / (now - recent.start)}
    if recent.num_examples:
      milliseconds = recent.seconds / recent.num_examples * 1e3
      values |= {
        f"data/{stage}_ms": float(value)
        for stage, value in zip(clocks.STAGES, milliseconds, strict=True)
      }
    return values

  def look_for_stalls(self, stop: threading.Event) -> None:
    """Say where the data are stuck, each time that no batch comes for long."""
    while not stop.wait(self._config.stall_seconds * _POLL):
      text = self.stall(self._now())
      if text:
        self._say(text)

  def stall(self, now: float) -> str:
    """Return what is to be said of a wait that goes on, "" for nothing new."""
    since = self._waiting_since
    if since is None:
      return ""
    seconds = self._config.stall_seconds
    num_lines = self._stall[1] if self._stall[0] == since else 0
    if now - since < seconds * (num_lines + 1):
      return ""
    self._stall = (since, int((now - since) / seconds))
    return (
      f"no batch for {now - since:.0f} s (data.stall_seconds={seconds:g}); the"
      f" step waits. {_who_does_what(self.clocks.folder, now)}"
    )

  def close(self) -> None:
    """End the threads."""
    self._finisher.close()


class _Finisher:
  """A thread that notes when the device has finished a step."""

  def __init__(self, now: Callable[[], float]):
    self._now = now
    self._waits: queue.SimpleQueue = queue.SimpleQueue()
    self._thread: threading.Thread | None = None

  def wait_for(self, finished: Callable[[], object] | None) -> list[float]:
    """Return a list that will hold the time when `finished` returned."""
    if finished is None:
      return [self._now()]
    if self._thread is None:
      self._thread = threading.Thread(target=self._run, daemon=True)
      self._thread.start()
    done: list[float] = []
    self._waits.put((finished, done))
    return done

  def close(self) -> None:
    self._waits.put(None)

  def _run(self) -> None:
    while (wait := self._waits.get()) is not None:
      finished, done = wait
      # What went wrong with the step is raised where its metrics are read.
      with contextlib.suppress(Exception):
        finished()
      done.append(self._now())
      del wait, finished  # else they hold the step's arrays until the next


def _say(text: str) -> None:
  # On a terminal the progress line is there; its next update comes below.
  clear = "\r\x1b[K" if sys.stderr.isatty() else ""
  print(f"{clear}{text}", file=sys.stderr, flush=True)


def _warning(config: pipeline.Data, window: _Window, now: float) -> str:
  seconds = now - window.start
  text = (
    f"the step waited for data {window.waited / seconds:.0%} of the last"
    f" {seconds:.0f} s"
  )
  if not window.num_examples:
    return text
  shares = dict(zip(clocks.STAGES, window.seconds, strict=True))
  total = max(sum(shares.values()), 1e-9)
  shares = {name: value / total for name, value in shares.items()}
  order = sorted(shares, key=lambda name: -shares[name])
  parts = ", ".join(
    f"{name} {shares[name]:.0%}" for name in order if shares[name] >= 0.01
  )
  text += (
    f"; the work on an example ({total / window.num_examples * 1e3:.1f} ms) is"
    f" {parts}"
  )
  if window.transferred > 0.5 * window.waited:
    text += (
      f"; of the wait {window.transferred / window.waited:.0%} is for batches"
      f" that were made but not here: {_transfer_advice(config)}"
    )
    return text
  return f"{text}: {advice(config, order[0], num_cores())}"


def _transfer_advice(config: pipeline.Data) -> str:
  if config.num_workers:
    return (
      "fewer data.num_workers"
      f" (now {config.num_workers}) with more data.num_threads each (now"
      f" {config.num_threads}) copy less"
    )
  return f"raise data.num_prefetch_batches (now {config.num_prefetch_batches})"


def advice(config: pipeline.Data, stage: str, cores: int) -> str:
  """Return what a user can change where a stage takes most of the work."""
  num_threads = f"data.num_threads (now {config.num_threads})"
  num_workers = f"data.num_workers (now {config.num_workers}, {cores} cores)"
  if not config.num_threads and not config.num_workers:
    return f"raise {num_threads}; nothing is made while the step runs"
  lanes = max(config.num_workers, 1) * max(config.num_threads, 1)
  if stage == "read":
    remote = [
      name for name, source in config.sources.items() if "://" in source.path
    ]
    if remote:
      return (
        f"raise {num_threads}, for reads that wait for the network, or copy"
        f" data.sources.{'/'.join(remote)} to a local disk with --task=prepare"
      )
    return (
      f"raise {num_threads}, or write the examples one by one to a local disk"
      " with --task=prepare"
    )
  if stage == "image" and lanes < cores:
    return f"raise {num_threads} or {num_workers}"
  if stage in ("caption", "tokenize") and config.num_workers < cores:
    # Python's lock: threads of one process do this one after the other.
    return f"raise {num_workers}; threads do not help here"
  if stage == "image":
    return (
      f"{lanes} threads for {cores} cores: what helps is a smaller image to"
      " decode, or more cores a device"
    )
  return f"raise {num_workers} or take more cores a device"


def num_cores() -> int:
  """Return how many cores this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _who_does_what(folder: str, now: float) -> str:
  found = clocks.look(folder)
  if not found:
    return (
      "No thread has begun an example: worker processes are starting, or the"
      " sources are being opened"
    )
  busy = sorted(
    (doing for doing in found if doing.stage), key=lambda doing: doing.since
  )
  lines = [
    f"{_process(doing.process)}, thread {doing.thread}: {doing.stage} of"
    f" {doing.what or 'an example'} for {now - doing.since:.1f} s"
    for doing in busy[:_NUM_NAMED]
  ]
  left = collections.Counter(doing.stage for doing in busy[_NUM_NAMED:])
  lines += [f"{count} more in {stage}" for stage, count in left.items()]
  if len(busy) < len(found):
    lines.append(f"{len(found) - len(busy)} between two examples")
  return "Threads that make examples: " + "; ".join(lines)


def _process(number: int) -> str:
  return "this process" if number == os.getpid() else f"process {number}"
