"""Progress of a long piece of work, on a terminal or in a log."""

import sys
import time
from typing import TextIO


class Progress:
  """Progress line with count, rate and time left, rewritten on a terminal.

  A stream that is not a terminal (a log file, CI) gets a line every
  `plain_seconds`, so short work writes only its last line there. With `delay`,
  work of fewer seconds writes nothing at all.
  """

  def __init__(
    self,
    label: str,
    total: int,
    *,
    stream: TextIO | None = None,
    plain_seconds: float = 10.0,
    delay: float = 0.0,
  ):
    self._label = label
    self._total = total
    # sys.stderr is read at run time: pytest and absl replace it.
    self._stream = sys.stderr if stream is None else stream
    self._is_terminal = self._stream.isatty()
    self._interval = 0.1 if self._is_terminal else plain_seconds
    self._start = self._last = time.monotonic()
    self._first = self._start + delay
    self._is_shown = not delay
    self._done = 0
    self._note = ""

  def advance(self, count: int = 1, *, note: str = "") -> None:
    """Count items as done; `note`, such as another rate, is shown with them."""
    self._note = f", {note}" if note else ""
    self._done += count
    now = time.monotonic()
    if now - self._last >= self._interval and now >= self._first:
      self._last = now
      rate = self._done / (now - self._start)
      left = (self._total - self._done) / rate
      pace = f"{rate:.0f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
      self._write(f"{pace}, {left:.0f} s left", last=False)

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *exception: object) -> None:
    if not self._is_shown:
      return
    # Written after an exception too: its message then starts on a new line.
    seconds = time.monotonic() - self._start
    self._write(f"{seconds:.1f} s", last=True)

  def _write(self, text: str, *, last: bool) -> None:
    self._is_shown = True
    line = f"{self._label}: {self._done}/{self._total}{self._note}, {text}"
    if self._is_terminal:
      # "\x1b[K" clears the rest of a longer line before this one.
      line = f"\r{line}\x1b[K"
    if last or not self._is_terminal:
      line += "\n"
    self._stream.write(line)
    self._stream.flush()
