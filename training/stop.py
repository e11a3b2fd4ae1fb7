"""Ending early when asked: SIGTERM (a preempted machine) and Ctrl-C."""

import os
import signal
import sys
import types

from runtime import cluster
from training import metrics


class Stop:
  """Remembers that the run was asked to end.

  Before `begin` there is nothing to lose (whatever is on disk was written
  whole), so the process ends at once; after it, the loop asks `requested`
  between steps, saves and returns. All processes of a run do so in the same
  step, whichever of them got the signal.
  """

  def __init__(self) -> None:
    self._signal = 0
    self._agreed = 0
    self._late = cluster.Late()
    self._in_loop = False
    self._before = {
      number: signal.signal(number, self._handle)
      for number in (signal.SIGTERM, signal.SIGINT)
    }

  def begin(self) -> None:
    """Say that from now on there is state to be saved."""
    self._in_loop = True

  def requested(self) -> bool:
    """Return whether the run was asked to end: the same on all processes.

    Which must all ask alike; they learn of each other's signals a call late.
    """
    self._agreed = self._late.highest(self._signal)
    return bool(self._agreed)

  @property
  def name(self) -> str:
    return signal.Signals(self._agreed or self._signal).name

  @property
  def exit_code(self) -> int:
    """0 after SIGTERM: what was asked for was done. 130 after Ctrl-C."""
    number = self._agreed or self._signal
    return 130 if number == signal.SIGINT else 0

  def restore(self) -> None:
    """Give the signals back to whoever had them."""
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    again = self._signal == signal.SIGINT == number
    self._signal = number
    if not self._in_loop or again:
      metrics.say(f"{self.name}: ending at once; nothing new was saved")
      sys.stdout.flush()
      # Not sys.exit: a compilation in another thread would be waited for.
      os._exit(self.exit_code)
