"""Functions that the workers of tests run."""

import os
import signal
import sys


def square(number):
  return number * number


def maybe_die(number):
  if number == 2:
    os.kill(os.getpid(), signal.SIGKILL)
  if number == 3:
    raise OSError(28, "No space left on device", "some/file")
  return number


def has_jax(number):
  del number
  return "jax" in sys.modules
