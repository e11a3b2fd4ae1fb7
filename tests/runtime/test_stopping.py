"""Signals that end a task: what is raised, and the exit codes."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from runtime import failures, stopping


def _handlers():
  return [signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize(
  ("number", "is_kept", "code", "text"),
  [
    (signal.SIGTERM, True, 75, "SIGTERM: ended; finished work is kept"),
    (signal.SIGTERM, False, 143, "SIGTERM: ended; nothing was saved"),
    (signal.SIGUSR1, True, 75, "SIGUSR1: ended; finished work is kept"),
    (signal.SIGUSR1, False, 143, "SIGUSR1: ended; nothing was saved"),
    (signal.SIGINT, True, 130, "SIGINT: ended; finished work is kept"),
    (signal.SIGINT, False, 130, "SIGINT: ended; nothing was saved"),
  ],
)
def test_codes(number, is_kept, code, text):
  before = _handlers()
  inner = stopping.kept() if is_kept else contextlib.nullcontext()
  with pytest.raises(stopping.Stopped) as raised, stopping.raised(), inner:
    os.kill(os.getpid(), number)
  stop = raised.value
  assert (stop.is_kept, stop.exit_code) == (is_kept, code)
  assert str(stop).startswith(text)
  assert code in stopping.CODES
  assert _handlers() == before


def test_a_second_sigterm_does_not_disturb_the_end():
  cleaned = []

  @stopping.raised()
  def work():
    try:
      os.kill(os.getpid(), signal.SIGTERM)
    finally:
      os.kill(os.getpid(), signal.SIGTERM)
      cleaned.append(True)

  with pytest.raises(stopping.Stopped):
    work()
  assert cleaned


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_finalizer_is_not_lost(number):
  class Finalized:
    def __del__(self):
      os.kill(os.getpid(), number)

  @stopping.raised()
  def work():
    Finalized()  # Python prints what __del__ raises, and goes on
    time.sleep(10)

  before = sys.unraisablehook
  with pytest.raises(stopping.Stopped) as raised:
    work()
  assert raised.value.number == number
  assert sys.unraisablehook is before


def test_a_hook_of_meanwhile_stays(monkeypatch):
  seen = []
  monkeypatch.setattr(sys, "unraisablehook", seen.append)
  with stopping.raised():
    under = sys.unraisablehook
    hook = lambda x: str(x.exc_value) == "hidden" or under(x)  # noqa: E731
    sys.unraisablehook = hook
  assert sys.unraisablehook is hook

  class Failing:
    def __init__(self, text):
      self._text = text

    def __del__(self):
      raise RuntimeError(self._text)

  Failing("hidden")
  assert not seen
  Failing("shown")
  assert [str(x.exc_value) for x in seen] == ["shown"]


def test_no_handler_of_exceptions_catches_it():
  assert not issubclass(stopping.Stopped, Exception)
  other = signal.getsignal(signal.SIGTERM)
  with stopping.undisturbed():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray replaces it
  assert signal.getsignal(signal.SIGTERM) is other


def test_reported_returns_the_code(capsys):
  def main(argv):
    with stopping.kept():
      os.kill(os.getpid(), signal.SIGTERM)
    return 0

  assert failures.reported(main)([]) == 75
  assert "finished work is kept" in capsys.readouterr().err


def test_the_end_keeps_its_code():
  code = """
import atexit, os, signal
from runtime import failures, stopping
class Crash:
  def __del__(self):
    os._exit(139)  # as XLA does at times while Python cleans up
crash = Crash()
atexit.register(print, "handlers of atexit are called")
main = lambda argv: os.kill(os.getpid(), signal.SIGTERM)
raise SystemExit(failures.reported(main, stopping.end)([]))
"""
  done = subprocess.run(
    (sys.executable, "-c", code),
    cwd=failures._ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 143, done.stderr
  assert done.stdout == "handlers of atexit are called\n"
  assert done.stderr == "SIGTERM: ended; nothing was saved\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_once(number):
  code = (
    "import os\nfrom runtime import stopping\n"
    "with stopping.raised(), stopping.at_once():\n"
    f"  os.kill(os.getpid(), {int(number)})\n"
  )
  done = subprocess.run(
    (sys.executable, "-c", code), cwd=failures._ROOT, capture_output=True
  )
  assert (done.returncode, done.stderr) == (-number, b"")
