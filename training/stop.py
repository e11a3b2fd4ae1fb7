"""Early end of a run on SIGTERM (a preempted machine) or Ctrl-C."""

import os
import signal
import sys
import types

from runtime import cluster
from training import metrics


class Stop:
  """Handler of signals that request the end of a run.

  Before `begin` there is no state to save (files on disk are whole), so the
  process ends at once. After it, the loop calls `requested` between steps,
  saves and returns. All processes of a run do so in the same step, whichever
  process received the signal.
  """

  def __init__(self) -> None:
    self._signal = 0
    self._agreed = 0
    self._delayed_max = cluster.DelayedMax()
    self._in_loop = False
    self._before = {
      number: signal.signal(number, self._handle)
      for number in (signal.SIGTERM, signal.SIGINT)
    }

  def begin(self) -> None:
    """Let signals wait for `requested`: from now on there is state to save."""
    self._in_loop = True

  def requested(self) -> bool:
    """Return whether the run was asked to end: the same on all processes.

    Collective: every process must call this once per step. A signal on one
    process is seen by the others one call later.
    """
    self._agreed = self._delayed_max.highest(self._signal)
    return bool(self._agreed)

  @property
  def name(self) -> str:
    return signal.Signals(self._agreed or self._signal).name

  @property
  def exit_code(self) -> int:
    """Return 0 after SIGTERM, since the request was met; 130 after Ctrl-C."""
    number = self._agreed or self._signal
    return 130 if number == signal.SIGINT else 0

  def restore(self) -> None:
    """Restore the signal handlers from before."""
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    again = self._signal == signal.SIGINT == number
    self._signal = number
    if not self._in_loop or again:
      metrics.say(f"{self.name}: ending at once; nothing new was saved")
      sys.stdout.flush()
      # Not sys.exit, which would wait for a compilation in another thread.
      os._exit(self.exit_code)
