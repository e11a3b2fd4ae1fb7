"""Early end of a run on SIGTERM or SIGUSR1 (preemption), or Ctrl-C."""

import signal
import threading
import types

from runtime import cluster, maintenance, stopping
from training import metrics


class Stop:
  """Handler of signals that request the end of a run.

  Before `begin` there is no state to save (files on disk are whole), so the
  process ends at once, and the others of the run with it. After it, the loop
  calls `requested` between steps, saves and returns. All processes of a run do
  so in the same step, whichever process received the signal.

  Attributes:
    is_kept: whether the run has a checkpoint; the exit code depends on it.
  """

  def __init__(self) -> None:
    self.is_kept = False
    self._signal = 0
    self._agreed = 0
    self._delayed_max = cluster.DelayedMax()
    self._in_loop = False
    self._watch: threading.Event | None = None
    self._before = {
      number: signal.signal(number, self._handle) for number in stopping.SIGNALS
    }

  def begin(self) -> None:
    """Let signals wait for `requested`: from now on there is state to save."""
    self._in_loop = True
    self._watch = maintenance.watch()

  def requested(self) -> bool:
    """Return whether the run was asked to end: the same on all processes.

    Collective: every process must call this once per step. A signal on one
    process is seen by the others one call later.
    """
    self._agreed = self._delayed_max.highest(self._signal)
    return bool(self._agreed)

  @property
  def has_begun(self) -> bool:
    """Whether `begin` was called."""
    return self._in_loop

  @property
  def was_asked(self) -> bool:
    """Whether this process received a signal; others may not have."""
    return bool(self._signal)

  @property
  def name(self) -> str:
    return signal.Signals(self._agreed or self._signal).name

  @property
  def exit_code(self) -> int:
    """Return the code of the signal; see runtime/stopping.py."""
    number = self._agreed or self._signal
    return stopping.exit_code(number, is_kept=self.is_kept)

  def restore(self) -> None:
    """Restore the signal handlers from before."""
    if self._watch is not None:
      self._watch.set()
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    again = self._signal == signal.SIGINT == number
    self._signal = number
    if not self._in_loop or again:
      metrics.say(f"{self.name}: ending at once; nothing new was saved")
      # Not sys.exit, which would wait for a compilation in another thread.
      cluster.end_all(self.exit_code)
