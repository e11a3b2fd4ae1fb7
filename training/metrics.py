"""Metrics of a run: metrics.jsonl, TensorBoard events, a progress line.

No other file writes metrics. `metrics.jsonl` has one JSON object a line. Lines
of training steps contain the step and its results, but no times, so that a
resumed run's lines equal an unbroken one's to the byte; times have lines of
their own.
"""

import collections
import contextlib
import hashlib
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any, Protocol

from runtime import cluster
from runtime.storage import bucket_path, committed, jsonl, whole_files
from training import event_file

# Prefix of norms of the gradients of single losses (gradient_norms.py), in the
# lines of training.
GRADIENTS = "gradients/"
# Seconds between two progress lines without a terminal.
_LOG_SECONDS = 30.0
# Least seconds between two uploads of TensorBoard events to a bucket.
_EVENTS_SECONDS = 60.0
# Prefix of the keys of training lines; keys of times start with "time/".
_TRAIN = "train/"
# Least jump of the machine's clock, and time without a step, that is told.
_JUMP_SECONDS = _STILL_SECONDS = 30.0
# Steps whose times are kept.
_NUM_ENDS = 65


class Copies(Protocol):
  """Receiver of all that a writer writes; see training/trackers."""

  def write(self, step: int, figures: Mapping[str, float]) -> None: ...

  def sync(self) -> None: ...


class Writer:
  """Writer that appends metrics to files below a folder."""

  def __init__(self, folder: pathlib.Path, name: str, first_step: int):
    """Open the files, and delete lines that a resumed run will write again.

    Args:
      folder: existing folder.
      name: name of the file of JSON lines in it.
      first_step: step the run resumes from. Lines of later steps are deleted,
        and so are this step's evaluation and clock lines: they will be written
        again.
    """
    # Only the first of several processes writes.
    self._is_open = cluster.is_first()
    self._copies: Copies | None = None
    if not self._is_open:
      return
    path = folder / name

    def is_before(line: dict[str, Any]) -> bool:
      is_train = any(key.startswith(_TRAIN) for key in line)
      step = line["step"]
      return step < first_step or (step == first_step and is_train)

    jsonl.keep(path, is_before)
    self._lines = jsonl.writer(path)
    self._events = _Events(folder / "tensorboard", first_step + 1)

  def copy_to(self, copies: Copies) -> None:
    """Give all further lines to `copies` too."""
    self._copies = copies

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Append one line and the events of one step."""
    if not self._is_open or not metrics:
      return
    self._lines.write({"step": step} | dict(metrics))
    for name, value in metrics.items():
      self._events.add(name, value, step)
    if self._copies is not None:
      self._copies.write(step, metrics)

  def sync(self) -> None:
    """Flush the lines to disk; called before a checkpoint is saved."""
    if self._is_open:
      self._lines.sync()
      self._events.sync()
      if self._copies is not None:
        self._copies.sync()

  def close(self) -> None:
    """Write the remaining events and close the files."""
    if not self._is_open:
      return
    self._lines.close()
    self._events.close()


class _Events:
  """TensorBoard events of a run.

  In a bucket they are files of their own for each stretch between two uploads:
  written on the disk, uploaded when they are closed, and deleted.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int):
    self._folder, self._purge_step = folder, purge_step
    self._is_bucket = isinstance(folder, bucket_path.BucketPath)
    self._stack = contextlib.ExitStack()
    self._staging: pathlib.Path | None = None
    if self._is_bucket:
      self._staging = self._stack.enter_context(committed.staging())
    self._num_files = 0
    self._open()

  def _open(self) -> None:
    suffix = f".{self._num_files:05d}" if self._staging else ""
    self._file = event_file.EventFile(self._staging or self._folder, suffix)
    if not self._num_files:
      # The first file alone takes back what a killed run had written.
      self._file.purge(self._purge_step)
    self._opened, self._has_events = time.monotonic(), False
    self._num_files += 1

  def add(self, name: str, value: float, step: int) -> None:
    """Add a figure."""
    self._file.add(name, value, step)
    self._has_events = True

  def sync(self) -> None:
    """Upload the events to a bucket, at most each _EVENTS_SECONDS."""
    waited = time.monotonic() - self._opened
    if self._is_bucket and self._has_events and waited > _EVENTS_SECONDS:
      self._upload()
      self._open()

  def close(self) -> None:
    """Write the remaining events and close the file."""
    with self._stack:
      if self._staging is None:
        self._file.close()
      else:
        self._upload()

  def _upload(self) -> None:
    assert self._staging is not None
    self._file.close()
    for path in sorted(self._staging.glob("events.*")):
      whole_files.write(self._folder / path.name, path.read_bytes())
      path.unlink()


def write_evaluation(
  workdir: pathlib.Path, step: int, scalars: Mapping[str, float]
) -> pathlib.Path:
  """Write the events of an evaluation that is none of training's.

  They have a folder of their own below training's, which TensorBoard lists as a
  run of its own. The same figures of the same step replace those before.

  Args:
    workdir: folder of the run.
    step: step of the evaluated checkpoint.
    scalars: figures by name.

  Returns:
    the folder.
  """
  folder = workdir / "tensorboard" / "sets"
  names = hashlib.blake2b("\n".join(sorted(scalars)).encode(), digest_size=6)
  suffix = f".step{step}-{names.hexdigest()}"
  for path in folder.glob(f"*{suffix}"):
    path.unlink(missing_ok=True)
  with _written(folder) as local:
    events = event_file.EventFile(pathlib.Path(local), suffix)
    for name, value in scalars.items():
      events.add(name, value, step)
    events.close()
  return folder


@contextlib.contextmanager
def _written(folder: pathlib.Path) -> Iterator[str]:
  """Yield a folder of this disk, whose files are written to `folder`."""
  if not isinstance(folder, bucket_path.BucketPath):
    yield str(folder)
    return
  with tempfile.TemporaryDirectory() as local:
    yield local
    for path in pathlib.Path(local).iterdir():
      whole_files.write(folder / path.name, path.read_bytes())


def say(text: str) -> None:
  """Print a line to stderr, from one process of the run only."""
  if cluster.is_first():
    print(text, file=sys.stderr, flush=True)


class Progress:
  """Progress line of training, rewritten on a terminal, else appended."""

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
    self._date = time.time() - self._started
    self._shown = self._started if self._is_terminal else 0.0
    self._open_line = False
    # Times of the last steps, pauses left out.
    self._ends: collections.deque[float] = collections.deque(maxlen=_NUM_ENDS)

  def begin(self, step: int, batch_size: int) -> None:
    """Measure from here on, for steps of another kind.

    Args:
      step: number of steps made so far.
      batch_size: examples of each further step.
    """
    self._first_step, self._batch_size = step, batch_size
    self._started, self._paused = time.monotonic(), 0.0
    self._ends.clear()

  def update(self, step: int, loss: float) -> None:
    """Show the metrics of a step, at most ten times a second."""
    now = time.monotonic()
    self._tell_still(now - self._paused)
    self._ends.append(now - self._paused)
    self._tell_jump(time.time() - now)
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

  def _tell_still(self, end: float) -> None:
    """Say that no step ended for a long time."""
    seconds = end - self._ends[-1] if self._ends else 0.0
    if seconds > max(_STILL_SECONDS, 3 * self.step_seconds()):
      self.end_line()
      say(
        f"No step ended for {seconds:.0f} s: a process was stopped, or its"
        " machine, network or data stood still; going on"
      )

  def _tell_jump(self, date: float) -> None:
    """Say that the machine's clock was set, or stood still with the machine."""
    jump, self._date = date - self._date, date
    if abs(jump) > _JUMP_SECONDS:
      self.end_line()
      say(
        f"The machine's clock jumped by {jump:+.0f} s; dates of events and"
        " reports follow it, nothing else does"
      )

  def images_per_s(self, step: int) -> float:
    """Return the mean rate since the start, pauses left out."""
    seconds = time.monotonic() - self._started - self._paused
    return (step - self._first_step) * self._batch_size / max(seconds, 1e-9)

  def step_seconds(self) -> float:
    """Return the mean time of the last steps, 0 before the first.

    The first one, which waits for the loader to start, counts only if alone.
    """
    if not self._ends:
      return 0.0
    first, last, num = self._ends[0], self._ends[-1], len(self._ends) - 1
    return (last - first) / num if num else last - self._started

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Leave the time in this context out of the rate (evaluation, saving)."""
    start = time.monotonic()
    try:
      yield
    finally:
      self._paused += time.monotonic() - start

  def end_line(self) -> None:
    """End the line, so that other output starts below it."""
    if self._open_line:
      self._stream.write("\n")
      self._stream.flush()
      self._open_line = False


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}:{minutes:02}:{seconds:02}"
  return f"{minutes}:{seconds:02}"
