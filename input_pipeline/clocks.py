"""Clocks of the stages in making an example, and notes of each thread's stage.

A thread that makes examples calls its clock when it enters a stage. The seconds
travel in the batch. A small memory-mapped file of each thread holds its present
stage; another process can read it while the thread is stuck.
"""

import contextlib
import dataclasses
import mmap
import os
import pathlib
import struct
import threading
import time
from typing import Any

import numpy as np

# Stages of one example up to "tokenize"; "batch" stacks examples.
STAGES = ("read", "caption", "image", "tokenize", "batch")
_NUMBERS = {name: number for number, name in enumerate(STAGES)}
_IDLE = -1
# Keys of a batch that `pop` removes.
SECONDS = "stage_seconds"  # float32 [b, len(STAGES)], one row an example
ASSEMBLED = "stage_assembled"  # see `assembled`
# Format of a note: stage, its start, and the end of the subject's name.
_WHAT_BYTES = 116
_NOTE = struct.Struct(f"<id{_WHAT_BYTES}s")
_HEAD = struct.Struct("<id")

_thread = threading.local()


@dataclasses.dataclass(frozen=True)
class Clocks:
  """Maker of a clock for each thread; can be sent to worker processes.

  Attributes:
    folder: existing local folder, in which each thread that makes examples has
      a file with its present stage. "" makes no such files and adds no seconds
      to batches.
  """

  folder: str = ""

  def start(self, what: str) -> "Clock":
    """Return this thread's clock, at zero, in the stage "read".

    Args:
      what: name of the example, for a person.
    """
    clock = getattr(_thread, "clock", None)
    if clock is None or clock.folder != self.folder:
      clock = _thread.clock = Clock(self.folder)
    clock.reset()
    clock.enter("read", what)
    return clock


class Clock:
  """Seconds that one thread spends in each stage of the example it makes."""

  def __init__(self, folder: str):
    self.folder = folder
    self._seconds = [0.0] * len(STAGES)
    self._stage = _IDLE
    self._since = 0.0
    name = f"{os.getpid()}-{threading.get_native_id()}"
    # Without a folder that exists (the loop has ended and deleted it, this
    # thread has not noticed), the note is kept in memory.
    self._note: mmap.mmap | bytearray = bytearray(_NOTE.size)
    if folder:
      with (
        contextlib.suppress(OSError),
        open(pathlib.Path(folder) / name, "w+b") as file,
      ):
        file.truncate(_NOTE.size)
        self._note = mmap.mmap(file.fileno(), _NOTE.size)
    _NOTE.pack_into(self._note, 0, _IDLE, time.monotonic(), b"")

  def reset(self) -> None:
    """Clear all seconds, and the stage of an earlier example that failed."""
    self._seconds = [0.0] * len(STAGES)
    self._stage = _IDLE

  def enter(self, stage: str, what: str | None = None) -> None:
    """Enter a stage; `what` replaces the example's name in the note."""
    self._change(_NUMBERS[stage])
    if what is None:
      _HEAD.pack_into(self._note, 0, self._stage, self._since)
    else:
      _NOTE.pack_into(self._note, 0, self._stage, self._since, _end(what))

  def about(self, what: str) -> None:
    """Note the stage's present subject, such as the file being read."""
    _NOTE.pack_into(self._note, 0, self._stage, self._since, _end(what))

  def stop(self) -> None:
    """Leave the last stage."""
    self._change(_IDLE)
    _HEAD.pack_into(self._note, 0, _IDLE, self._since)

  def seconds(self) -> np.ndarray:
    """Return float32 [len(STAGES)]: the seconds of finished stages."""
    return np.array(self._seconds, np.float32)

  def _change(self, stage: int) -> None:
    now = time.monotonic()
    if self._stage != _IDLE:
      self._seconds[self._stage] += now - self._since
    self._stage, self._since = stage, now


def about(what: str) -> None:
  """Note the file that this thread reads now; do nothing without a clock."""
  clock = getattr(_thread, "clock", None)
  if clock is not None:
    clock.about(what)


def assembled(start: float) -> np.ndarray:
  """Return float64 [2]: the seconds since `start`, and time.monotonic().

  Args:
    start: time.monotonic() before examples were stacked to a batch; this clock
      is the system's, the same in all processes.
  """
  now = time.monotonic()
  return np.array([now - start, now])


@dataclasses.dataclass(frozen=True)
class Work:
  """Work done for a batch.

  Attributes:
    seconds: float64 [len(STAGES)], summed over the examples.
    num_examples: examples in this process's part of the batch.
    assembled: time.monotonic() when the batch was complete.
  """

  seconds: np.ndarray
  num_examples: int
  assembled: float


def pop(batch: dict[str, Any]) -> Work | None:
  """Remove the clocks from a batch and return them; None if it has none."""
  rows = batch.pop(SECONDS, None)
  times = batch.pop(ASSEMBLED, None)
  if rows is None or times is None:
    return None
  seconds = rows.sum(axis=0, dtype=np.float64)
  seconds[_NUMBERS["batch"]] += times[0]
  return Work(seconds, len(rows), float(times[1]))


@dataclasses.dataclass(frozen=True)
class Doing:
  """Activity of a thread; `stage` is "" between two examples."""

  process: int
  thread: int
  stage: str
  since: float
  what: str


def look(folder: str) -> list[Doing]:
  """Return the activity of each thread with a clock in a folder, if any."""
  activities = []
  for path in sorted(pathlib.Path(folder).glob("*")):
    data = path.read_bytes()
    if len(data) != _NOTE.size:  # its thread is still creating it
      continue
    stage, since, what = _NOTE.unpack(data)
    process, _, thread = path.name.partition("-")
    activities.append(
      Doing(
        int(process),
        int(thread),
        "" if stage == _IDLE else STAGES[stage],
        since,
        what.rstrip(b"\0").decode(errors="replace"),
      )
    )
  return activities


def _end(what: str) -> bytes:
  """Return the last bytes of `what` that fit in a note: a path's end."""
  data = what.encode()
  return data if len(data) <= _WHAT_BYTES else data[-_WHAT_BYTES:]
