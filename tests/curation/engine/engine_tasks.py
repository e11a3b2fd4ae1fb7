"""Functions that the workers of tests run."""

import os
import signal
import sys
import time


def square(number):
  return number * number


def sleep(seconds):
  time.sleep(seconds)
  return seconds


def process_id(number):
  del number
  return os.getpid()


def maybe_die(number):
  if number == 2:
    os.kill(os.getpid(), signal.SIGKILL)
  if number == 3:
    raise OSError(28, "No space left on device", "some/file")
  return number


def opens_a_shard(number):
  del number
  # Imports of a curation's tasks, including all operators.
  from curation import rules
  from curation.engine import shard_pass
  from curation.outputs import signals

  assert signals
  assert shard_pass
  assert rules.OPERATORS
  return "jax" in sys.modules
