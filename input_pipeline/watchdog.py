"""Watchdog of the input: share of time waited for data, and the stage to blame.

It warns when the step waits too long in all, and says what each thread is doing
when no batch comes.
"""

import collections
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from input_pipeline import clocks, pipeline

# Beginning of the names of folders with the threads' stages.
_PREFIX = "diptych-stages-"
# Share of time waited above which a warning is printed: a run that waits less
# has at least 90 % of its possible speed.
WARN_FRACTION = 0.1
# Length of the window that a warning is computed over, longer than evaluations
# and saves.
_WINDOW_SECONDS = 60.0
# Least seconds between two warnings, not to repeat advice that is ignored.
_QUIET_SECONDS = 600.0
# Most threads named when no batch comes, those stuck longest first.
_NUM_NAMED = 8
# Interval between checks for a stall, as a fraction of data.stall_seconds.
_POLL = 0.25


@contextlib.contextmanager
def watch(
  config: pipeline.DataConfig,
  say: Callable[[str], object] | None = None,
) -> Iterator["Watchdog"]:
  """Yield the watchdog of a loop; its threads and files end with the context.

  Args:
    config: config of the data whose batches are fetched.
    say: function that prints a line, also called from another thread. None
      prints to stderr in every process, since all processes wait for the one
      that gets no data.
  """
  _delete_leftovers()
  with (
    tempfile.TemporaryDirectory(
      prefix=_PREFIX, ignore_cleanup_errors=True
    ) as folder,
    contextlib.ExitStack() as stack,
  ):
    with contextlib.suppress(OSError):  # no locks here, or just deleted
      stack.enter_context(_locked(folder))
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


@contextlib.contextmanager
def _locked(folder: str | pathlib.Path) -> Iterator[None]:
  """Lock a folder; OSError where another process has it."""
  number = os.open(folder, os.O_RDONLY)
  try:
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield
  finally:
    os.close(number)


def _delete_leftovers() -> None:
  """Delete the folders of loops that were killed, which nobody locks."""
  for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
    with contextlib.suppress(OSError), _locked(folder):
      shutil.rmtree(folder)


@dataclasses.dataclass
class _Window:
  """Waiting time and work counted since `start`."""

  start: float
  waited: float = 0.0
  # Part of `waited` after the batch was made, spent on its transfer.
  transferred: float = 0.0
  num_examples: int = 0
  seconds: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros(len(clocks.STAGES))
  )


class Watchdog:
  """Fetches a loop's batches and measures how long the device had none."""

  def __init__(
    self,
    config: pipeline.DataConfig,
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
    self._window: _Window | None = None  # since the last check for a warning
    self._last_warning = -_QUIET_SECONDS
    self._waiting_since: float | None = None
    # Start of the stall reported last, and lines printed about it.
    self._stall: tuple[float, int] = (0.0, 0)

  def next(
    self,
    iterator: Iterator[dict[str, Any]],
    finished: Callable[[], object] | None = None,
  ) -> dict[str, Any]:
    """Return the next batch without its clocks.

    Args:
      iterator: iterator of make_train_dataset(clocks=self.clocks).
      finished: function that returns when the device has finished the step
        before. Until then waiting for data costs nothing, though the host
        waits. None: the device is idle from the start.
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
    """Return metrics since the last call; print a warning if data are slow.

    "data/wait_fraction" is a share of the time; "data/image_ms" and the like
    are milliseconds an example of each stage, summed over threads.
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
    """Print the threads' stages whenever no batch comes for stall_seconds."""
    while not stop.wait(self._config.stall_seconds * _POLL):
      text = self.stall(self._now())
      if text:
        self._say(text)

  def stall(self, now: float) -> str:
    """Return the next line about a wait that goes on; "" if not yet due."""
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
  """Thread that records when the device has finished a step."""

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
      # An error of the step is raised where its metrics are read.
      with contextlib.suppress(Exception):
        finished()
      done.append(self._now())
      del wait, finished  # frees the step's arrays before the next wait


def _say(text: str) -> None:
  # On a terminal, the progress line is cleared; its next update comes below.
  clear = "\r\x1b[K" if sys.stderr.isatty() else ""
  print(f"{clear}{text}", file=sys.stderr, flush=True)


def _warning(config: pipeline.DataConfig, window: _Window, now: float) -> str:
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
      f" that were made but not yet transferred: {_transfer_advice(config)}"
    )
    return text
  return f"{text}: {advice(config, order[0], num_cores())}"


def _transfer_advice(config: pipeline.DataConfig) -> str:
  if config.num_workers:
    return (
      "fewer data.num_workers"
      f" (now {config.num_workers}) with more data.num_threads each (now"
      f" {config.num_threads}) copy less"
    )
  return f"raise data.num_prefetch_batches (now {config.num_prefetch_batches})"


def advice(config: pipeline.DataConfig, stage: str, cores: int) -> str:
  """Return advice to a user whose data spend most of the work in a stage."""
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
    # Python's lock serialises this stage among threads of one process.
    return f"raise {num_workers}; threads do not help here"
  if stage == "image":
    return (
      f"{lanes} threads for {cores} cores: store smaller images, or take more"
      " cores a device"
    )
  return f"raise {num_workers} or take more cores a device"


def num_cores() -> int:
  """Return the number of cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _who_does_what(folder: str, now: float) -> str:
  activities = clocks.look(folder)
  if not activities:
    return (
      "No thread has begun an example: worker processes are starting, or the"
      " sources are being opened"
    )
  busy = sorted(
    (doing for doing in activities if doing.stage),
    key=lambda doing: doing.since,
  )
  lines = [
    f"{_process(doing.process)}, thread {doing.thread}: {doing.stage} of"
    f" {doing.what or 'an example'} for {now - doing.since:.1f} s"
    for doing in busy[:_NUM_NAMED]
  ]
  left = collections.Counter(doing.stage for doing in busy[_NUM_NAMED:])
  lines += [f"{count} more in {stage}" for stage, count in left.items()]
  if len(busy) < len(activities):
    lines.append(f"{len(activities) - len(busy)} between two examples")
  return "Threads that make examples: " + "; ".join(lines)


def _process(number: int) -> str:
  return "this process" if number == os.getpid() else f"process {number}"
