"""Reports of a run: metrics.jsonl, TensorBoard events, a progress line.

The only file that writes metrics. `metrics.jsonl` has one JSON object a line:
lines of training steps hold the step and what the step computed, nothing of
the clock, so that a resumed run's lines equal an unbroken one's to the byte;
the clock has lines of its own.
"""

import pathlib
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

import tensorboardX

from runtime import cluster, jsonl

# Seconds between two progress lines where there is no terminal.
_LOG_SECONDS = 30.0
# Keys of training lines start with this; those of the clock with "time/".
_TRAIN = "train/"


class Writer:
  """Appends metrics to files below a folder."""

  def __init__(self, folder: pathlib.Path, name: str, first_step: int):
    """Open the files, dropping what a run that was killed wrote too much.

    Args:
      folder: exists.
      name: file of JSON lines in it.
      first_step: the run goes on from the state of this step. Later lines go,
        and lines of other than training at this very step (they come again).
    """
    # Of several processes, one writes.
    self._is_open = cluster.is_first()
    if not self._is_open:
      return
    path = folder / name

    def is_before(line: dict[str, Any]) -> bool:
      is_train = any(key.startswith(_TRAIN) for key in line)
      step = line["step"]
      return step < first_step or (step == first_step and is_train)

    jsonl.keep(path, is_before)
    self._lines = jsonl.Writer(path)
    self._events = tensorboardX.SummaryWriter(
      str(folder / "tensorboard"), purge_step=first_step + 1, flush_secs=30
    )

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Append one line and the events of one step."""
    if not self._is_open or not metrics:
      return
    self._lines.write({"step": step} | dict(metrics))
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step)

  def sync(self) -> None:
    """Put on disk what was written: a checkpoint is to follow."""
    if self._is_open:
      self._lines.sync()

  def close(self) -> None:
    """Write what is left and close the files."""
    if not self._is_open:
      return
    self._lines.close()
    self._events.close()


def say(text: str) -> None:
  """Tell the person at the terminal what the run is doing, once."""
  if cluster.is_first():
    print(text, file=sys.stderr, flush=True)


class Progress:
  """A line on the terminal that is written over; a log line without one."""

  def __init__(
    self,
    *,
    first_step: int,
    total_steps: int,
    batch_size: int,
    stream: IO[str] = sys.stderr,
  ):
    self._first_step = first_step
    self._total_steps = total_steps
    self._batch_size = batch_size
    self._stream = stream
    self._is_terminal = stream.isatty() and cluster.is_first()
    self._started = time.monotonic()
    self._paused = 0.0
    self._shown = self._started if self._is_terminal else 0.0
    self._open_line = False

  def update(self, step: int, loss: float) -> None:
    """Show the metrics of a step, not more often than people can read."""
    now = time.monotonic()
    wait = 0.1 if self._is_terminal else _LOG_SECONDS
    if now - self._shown < wait and step != self._total_steps:
      return
    self._shown = now
    rate = self.images_per_s(step)
    left = (self._total_steps - step) * self._batch_size / rate if rate else 0
    text = (
      f"step {step}/{self._total_steps}  loss {loss:.4f}"
      f"  {rate:,.0f} images/s  {_clock(left)} left"
    )
    if self._is_terminal:
      self._stream.write(f"\r\x1b[K{text}")
      self._stream.flush()
      self._open_line = True
    else:
      say(text)

  def images_per_s(self, step: int) -> float:
    """Return the mean rate since the start, pauses left out."""
    seconds = time.monotonic() - self._started - self._paused
    return (step - self._first_step) * self._batch_size / max(seconds, 1e-9)

  def pause(self) -> "_Pause":
    """Return a context whose time does not count (evaluation, saving)."""
    return _Pause(self)

  def end_line(self) -> None:
    """Leave the line as it is, so that other output starts below it."""
    if self._open_line:
      self._stream.write("\n")
      self._stream.flush()
      self._open_line = False


class _Pause:
  def __init__(self, progress: Progress):
    self._progress = progress
    self._start = 0.0

  def __enter__(self) -> None:
    self._start = time.monotonic()

  def __exit__(self, *error: object) -> None:
    self._progress._paused += time.monotonic() - self._start


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}:{minutes:02}:{seconds:02}"
  return f"{minutes}:{seconds:02}"
