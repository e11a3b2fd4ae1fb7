"""End of a task on SIGTERM (a preempted machine) or Ctrl-C, and its exit code.

  75   SIGTERM, and the same command goes on with finished work: a job system
       may queue it again (EX_TEMPFAIL of sysexits.h)
  143  SIGTERM, and nothing was kept
       SIGUSR1, with which Slurm warns of the end (sbatch --signal), is taken as
       SIGTERM.
  130  Ctrl-C in either case: whoever pressed it wants no other start

`failures.reported` ends every task so. Training, which saves its state between
two steps, has handlers of its own (training/stop.py) with the same codes.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, NoReturn

REQUEUE = 75
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Wait before a signal is sent again that was lost.
_AGAIN_SECONDS = 0.05
# Exit codes of processes that were asked to end.
CODES = (REQUEUE, 128 + signal.SIGTERM, 128 + signal.SIGINT)


class Stopped(BaseException):
  """SIGTERM or Ctrl-C; no Exception, so that no step's handler catches it.

  Attributes:
    number: the signal's.
    is_kept: whether the same command goes on with finished work; see `kept`.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.number = number
    self.is_kept = False

  def __str__(self) -> str:
    return f"{signal.Signals(self.number).name}: ended; " + (
      "finished work is kept, the same command resumes from it"
      if self.is_kept
      else "nothing was saved"
    )

  @property
  def exit_code(self) -> int:
    return exit_code(self.number, is_kept=self.is_kept)


def exit_code(number: int, *, is_kept: bool) -> int:
  """Return the exit code of a task that a signal ended."""
  if number == signal.SIGUSR1:
    number = signal.SIGTERM
  return REQUEUE if is_kept and number == signal.SIGTERM else 128 + number


def end(code: int) -> NoReturn:
  """End the process with a code, without Python's own clean-up.

  That one crashes at times while a thread of XLA still compiles (SIGSEGV), and
  its code would be the process's.
  """
  atexit._run_exitfuncs()  # workers of other processes end here
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


@contextlib.contextmanager
def raised() -> Iterator[None]:
  """Let SIGTERM and Ctrl-C raise Stopped in this, the main thread.

  While that ends the task, another SIGTERM is ignored and another Ctrl-C ends
  the process at once.
  """
  is_ending = False
  before = sys.unraisablehook

  def stop(number: int, frame: types.FrameType | None) -> None:
    nonlocal is_ending
    del frame
    if not is_ending:
      is_ending = True
      raise Stopped(number)
    if number == signal.SIGINT:
      os._exit(exit_code(number, is_kept=False))

  def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a signal again that came in a finalizer, which raises nothing."""
    nonlocal is_ending
    lost = unraisable.exc_value
    if not isinstance(lost, Stopped):
      before(unraisable)
      return
    is_ending = False
    # By a thread: raised from here, it would be lost once more.
    args = (os.getpid(), lost.number)
    threading.Timer(_AGAIN_SECONDS, os.kill, args).start()

  sys.unraisablehook = raise_again
  try:
    with _handled(dict.fromkeys(SIGNALS, stop)):
      yield
  finally:
    # A hook that was put before this one in the meantime stays, and calls it.
    if sys.unraisablehook is raise_again:
      sys.unraisablehook = before


@contextlib.contextmanager
def at_once() -> Iterator[None]:
  """Let signals end the process as the kernel does.

  A handler in Python would wait while C++ waits for other processes.
  """
  with _handled(dict.fromkeys(SIGNALS, signal.SIG_DFL)):
    yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
  """Restore the handlers that a library replaces in this context."""
  with _handled({number: signal.getsignal(number) for number in SIGNALS}):
    yield


@contextlib.contextmanager
def kept() -> Iterator[None]:
  """Note in a Stopped that ends this context that its work is kept."""
  try:
    yield
  except Stopped as stop:
    stop.is_kept = True
    raise


@contextlib.contextmanager
def _handled(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
  before = {
    number: signal.signal(number, handler)
    for number, handler in handlers.items()
  }
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
