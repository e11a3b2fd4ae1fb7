"""Tracker in a file, whose project is its path and whose run name its ways."""

import json
import os
import pathlib
import signal
import time


class Tracker:
  url = "http://fake"

  def __init__(self, about):
    self._path = pathlib.Path(about["project"])
    self._way = about["run_name"]
    if self._way == "hangs at begin":
      time.sleep(1000)
    steps = [line["step"] for line in lines(self._path) if "step" in line]
    self.last_step = max(steps, default=-1)
    self._add({"id": about["id"], "config": about["config"]})

  def log(self, steps):
    for step, figures in steps:
      self._log(step, figures)

  def _log(self, step, figures):
    if self._way == "fails" or (
      self._way == "fails once" and len(lines(self._path)) == 3
    ):
      self._add({"failed": step})
      raise ValueError("no such\nservice")
    if self._way == "dies":
      os.kill(os.getpid(), signal.SIGKILL)
    if self._way == "hangs" and step == 2:
      time.sleep(1000)
    self._add({"step": step, **figures})

  def close(self, *, is_finished):
    self._add({"is_finished": is_finished})

  def _add(self, line):
    with open(self._path, "a") as file:
      file.write(json.dumps(line) + "\n")


def begin(about):
  return Tracker(about)


def lines(path):
  """Return all lines of a tracker's file."""
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]
