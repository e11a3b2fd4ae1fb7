"""Clocks of the stages that an example goes through, and who is in which.

A thread that makes examples says when it comes to a stage. The seconds travel
in the batch; what the thread is doing now stands in a small memory-mapped file
of its own, which another process can read while the thread is stuck.
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

# Up to "tokenize" of one example; "batch" puts examples together.
STAGES = ("read", "caption", "image", "tokenize", "batch")
_NUMBERS = {name: number for number, name in enumerate(STAGES)}
_IDLE = -1
# Keys of a batch that `pop` takes out of it.
SECONDS = "stage_seconds"  # float32 [b, len(STAGES)], of each example
ASSEMBLED = "stage_assembled"  # see `assembled`
# Stage, since when, and the end of what it is about.
_WHAT_BYTES = 116
_NOTE = struct.Struct(f"<id{_WHAT_BYTES}s")
_HEAD = struct.Struct("<id")

_thread = threading.local()


@dataclasses.dataclass(frozen=True)
class Clocks:
  """Makes a clock for each thread; can be sent to worker processes.

  Attributes:
    folder: exists, on this machine; each thread that makes examples has a file
      there that says what it is doing. "" for no such files, nor seconds in
      batches.
  """

  folder: str = ""

  def start(self, what: str) -> "Clock":
    """Return this thread's clock, at zero, in the stage "read".

    Args:
      what: names the example, for a person.
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
    # Where nobody can look any more (the loop has ended, this thread has not
    # noticed), memory will do.
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
    """Forget all seconds, and where an example was left that failed."""
    self._seconds = [0.0] * len(STAGES)
    self._stage = _IDLE

  def enter(self, stage: str, what: str | None = None) -> None:
    """Come to a stage; `what` takes the place of the example's name."""
    self._change(_NUMBERS[stage])
    if what is None:
      _HEAD.pack_into(self._note, 0, self._stage, self._since)
    else:
      _NOTE.pack_into(self._note, 0, self._stage, self._since, _end(what))

  def about(self, what: str) -> None:
    """Say what the stage is about now: the file that is read, say."""
    _NOTE.pack_into(self._note, 0, self._stage, self._since, _end(what))

  def stop(self) -> None:
    """Leave the last stage."""
    self._change(_IDLE)
    _HEAD.pack_into(self._note, 0, _IDLE, self._since)

  def seconds(self) -> np.ndarray:
    """Return float32 [len(STAGES)] of the stages that were left."""
    return np.array(self._seconds, np.float32)

  def _change(self, stage: int) -> None:
    now = time.monotonic()
    if self._stage != _IDLE:
      self._seconds[self._stage] += now - self._since
    self._stage, self._since = stage, now


def about(what: str) -> None:
  """Say which file this thread reads now; nothing where no clock runs."""
  clock = getattr(_thread, "clock", None)
  if clock is not None:
    clock.about(what)


def assembled(start: float) -> np.ndarray:
  """Return float64 [2]: the seconds since `start`, and when it is now.

  Args:
    start: time.monotonic() before examples were put together to a batch. That
      clock is the system's, the same in all processes.
  """
  now = time.monotonic()
  return np.array([now - start, now])


@dataclasses.dataclass(frozen=True)
class Work:
  """What a batch took.

  Attributes:
    seconds: float64 [len(STAGES)], summed over the examples.
    num_examples: of this process's part of the batch.
    assembled: when it was there, by time.monotonic().
  """

  seconds: np.ndarray
  num_examples: int
  assembled: float


def pop(batch: dict[str, Any]) -> Work | None:
  """Take the clocks out of a batch; None where it has none."""
  rows = batch.pop(SECONDS, None)
  times = batch.pop(ASSEMBLED, None)
  if rows is None or times is None:
    return None
  seconds = rows.sum(axis=0, dtype=np.float64)
  seconds[_NUMBERS["batch"]] += times[0]
  return Work(seconds, len(rows), float(times[1]))


@dataclasses.dataclass(frozen=True)
class Doing:
  """What a thread is doing; `stage` is "" between two examples."""

  process: int
  thread: int
  stage: str
  since: float
  what: str


def look(folder: str) -> list[Doing]:
  """Return what each thread with a clock in a folder is doing."""
  found = []
  for path in sorted(pathlib.Path(folder).iterdir()):
    data = path.read_bytes()
    if len(data) != _NOTE.size:  # its thread is just making it
      continue
    stage, since, what = _NOTE.unpack(data)
    process, _, thread = path.name.partition("-")
    found.append(
      Doing(
        int(process),
        int(thread),
        "" if stage == _IDLE else STAGES[stage],
        since,
        what.rstrip(b"\0").decode(errors="replace"),
      )
    )
  return found


def _end(what: str) -> bytes:
  """Return what a note has room for: a path is told by its end."""
  data = what.encode()
  return data if len(data) <= _WHAT_BYTES else data[-_WHAT_BYTES:]
