"""Functions that the workers of tests run."""

import os
import signal
import time

import pyarrow as pa

from input_pipeline import faults
from runtime import processes


def square(number):
  return number * number


def sleep(seconds):
  time.sleep(seconds)
  return seconds


def process_id(number):
  del number
  return os.getpid()


def process_id_then_sleep(seconds):
  time.sleep(seconds)
  return os.getpid()


def maybe_die(number):
  if number == 2:
    os.kill(os.getpid(), signal.SIGKILL)
  if number == 3:
    raise OSError(28, "No space left on device", "some/file")
  return number


def raises(number):
  raise faults.ExampleError("image_broken", f"image {number}")


def tells(number):
  for part in range(3):
    processes.tell((number, part))
  return number


def arrow_threads(number):
  del number
  return pa.cpu_count(), pa.io_thread_count()
