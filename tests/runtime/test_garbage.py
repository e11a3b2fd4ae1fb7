"""Garbage collector: main.py raises its threshold, and leaves the others."""

import gc
import subprocess
import sys

from runtime import garbage

_PROGRAM = """
import gc, runpy, sys
from absl import app
app.run = lambda *args, **kwargs: print(*gc.get_threshold())
sys.argv[:] = ["main.py"]
runpy.run_path("main.py", run_name="__main__")
"""


def test_main_raises_the_threshold():
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
  )
  _, *others = subprocess.run(
    [sys.executable, "-c", "import gc; print(*gc.get_threshold())"],
    capture_output=True,
    text=True,
    check=True,
  ).stdout.split()
  assert done.stdout.split() == ["10000", *others]


def test_the_collector_still_runs():
  before = gc.get_threshold()
  try:
    garbage.raise_threshold()
    assert gc.isenabled()
    assert gc.get_threshold() == (10_000, *before[1:])
  finally:
    gc.set_threshold(*before)
