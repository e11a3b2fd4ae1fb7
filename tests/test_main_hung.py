"""Processes that are alive and hang: named, left in peace, or ended."""

import dataclasses
import json
import os
import signal

import pytest

from tests import runs

FLAGS = (
  "--config.total_steps=100000",
  "--config.evaluate.sets={}",
  "--config.hang.least_seconds=2",
  "--config.hang.end_seconds=5",
)
# Lets the loader of a process loop while the file ENDLESS is there. Steps take
# a moment, so that a run does not write thousands of checkpoints.
ENDLESS = """
import os, time
from input_pipeline import loader
fetch = loader.Loader.__next__
def endless(self):
  time.sleep(0.05)
  while os.path.exists(os.environ.get("ENDLESS", "")): time.sleep(0.01)
  return fetch(self)
loader.Loader.__next__ = endless
"""


@pytest.mark.slow
def test_a_stopped_process_and_an_endless_loop(runner, tmp_path):
  runner = dataclasses.replace(runner, compiled=None)
  workdir, endless = tmp_path / "run", tmp_path / "endless"
  stacks = [workdir / "hung" / f"process_{index}.txt" for index in range(2)]
  processes = runner.start_cluster(
    *(workdir, 2, *FLAGS),
    num_devices=2,
    before=ENDLESS,
    env=lambda index: {"ENDLESS": str(endless)} if index else {},
  )
  first, second = processes
  # Both compile; nothing of that is taken for a hang.
  runs.wait_until(lambda: runs.last_step(workdir) >= 10, first)
  assert not stacks[0].exists()
  second.send_signal(signal.SIGSTOP)
  runs.wait_until(stacks[0].exists, first)
  second.send_signal(signal.SIGCONT)
  step = runs.last_step(workdir)
  runs.wait_until(lambda: runs.last_step(workdir) > step + 20, first)
  assert not stacks[1].exists()  # it was stopped, and saw nobody hang
  stacks[0].unlink()
  endless.touch()
  results = [runs.finish(process) for process in processes]
  assert [result.code for result in results] == [75, 75], results
  lines = results[0].stderr.splitlines()
  named = f"process 1 (host {os.uname().nodename}, pid {second.pid})"
  stopped = next(i for i, line in enumerate(lines) if "no sign of" in line)
  assert lines[stopped].startswith("process 0 of 2: no sign of process 1 for 2")
  assert f": {named} sent nothing for " in lines[stopped]
  assert lines[stopped].endswith(f"Stacks of this process: {stacks[0]}")
  assert "process 0 of 2: no process hangs any more; going on" in lines
  for result in results:
    (line,) = (
      x
      for x in result.stderr.splitlines()
      if "no step ended" in x and "Stacks" in x
    )
    assert f": {named} reading data after step " in line
    assert (
      f"process 0 (host {os.uname().nodename}, pid {first.pid}) waiting"
      in (line)
    )
    assert "Traceback" not in result.stderr
  assert "in endless" in stacks[1].read_text()
  assert "in endless" not in stacks[0].read_text()
  rows = [json.loads(line) for line in runs.train_lines(workdir)]
  assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
