"""Process 0 of a run is stopped, and with it the store of beats.

python -m pytest tests/long/hung_first.py
"""

import dataclasses
import os
import signal

import pytest

from tests import runs
from tests import test_main_hung as base


@pytest.mark.slow
def test_the_first_process_is_stopped(runner, tmp_path):
  """Process 0 has the store of beats, which then does not answer."""
  runner = dataclasses.replace(runner, compiled=None)
  workdir = tmp_path / "run"
  processes = runner.start_cluster(
    *(workdir, 2, *base.FLAGS), num_devices=2, before=base.ENDLESS
  )
  first, second = processes
  runs.wait_until(lambda: runs.last_step(workdir) >= 10, first)
  first.send_signal(signal.SIGSTOP)
  result = runs.finish(second)
  first.send_signal(signal.SIGCONT)
  assert result.code == 75, result.stderr
  assert f"process 0 (host {os.uname().nodename}, pid {first.pid}) sent" in (
    result.stderr
  )
  assert runs.finish(first).code == 75
