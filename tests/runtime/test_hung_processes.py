"""Hangs by the clock: reported once, not while others may take any time."""

import dataclasses
import json

import pytest

from runtime import cluster, hung_processes


class _Clock:
  def __init__(self):
    self.seconds = 1000.0

  def __call__(self):
    return self.seconds


@pytest.fixture
def clock():
  return _Clock()


@pytest.fixture
def watchdog(clock, tmp_path, monkeypatch):
  """Return the watchdog of process 0 of 2, after five steps of 1 s."""
  monkeypatch.setattr(cluster, "_count", 2)
  config = hung_processes.HangConfig(20.0, 10.0, 30.0)
  made = hung_processes.Watchdog(config, tmp_path, lambda: 75, clock)
  for step in range(5):
    made.end_step(step)
    _hear(made, number=step)
    clock.seconds += 1
  return made


def _hear(watchdog, *, number, phase=hung_processes.STEP, seconds=0.5):
  beat = hung_processes.Beat(number, "there", 7, phase, number, seconds)
  watchdog.hear({"1": json.dumps(dataclasses.asdict(beat))})


def test_a_step_that_does_not_end(watchdog, clock):
  for second in range(20):
    assert watchdog.judge() == ("", False), second
    _hear(watchdog, number=5 + second, phase="reading data", seconds=second)
    clock.seconds += 1
  line, ends = watchdog.judge()
  assert not ends
  assert "no step ended for 21 s (median 1 s)" in line
  assert "process 1 (host there, pid 7) reading data after step 24" in line
  assert line.index("process 1 (") < line.index("process 0 (")
  assert watchdog.judge() == ("", False)  # said once
  clock.seconds += 5
  _hear(watchdog, number=99)
  watchdog.end_step(5)
  assert "going on" in watchdog.judge()[0]
  assert watchdog.judge() == ("", False)


def test_a_silent_process_ends_the_run(watchdog, clock):
  for _ in range(11):
    clock.seconds += 1
    _hear(watchdog, number=4)  # the store answers with its last beat
  line, ends = watchdog.judge()
  assert not ends
  assert "no sign of process 1 for 10 s" in line
  assert "process 1 (host there, pid 7) sent nothing for 12 s" in line
  clock.seconds += 29
  watchdog.hear({})
  assert watchdog.judge() == ("", False)
  clock.seconds += 2
  watchdog.hear({})
  line, ends = watchdog.judge()
  assert ends
  assert "(hang.end_seconds=30)" in line


def test_a_store_that_does_not_answer_is_process_0(watchdog, clock):
  clock.seconds += 11
  assert "no sign of process 0 for 10 s" in watchdog.judge()[0]


def test_saving_takes_any_time(watchdog, clock):
  with watchdog.phase("saving"):
    for number in range(100):
      clock.seconds += 1
      _hear(watchdog, number=10 + number)
      assert watchdog.judge() == ("", False)
  assert watchdog.judge() == ("", False)
  clock.seconds += 1
  watchdog.end_step(6)
  assert max(watchdog._steps) < 3


def test_a_time_in_which_this_process_was_stopped(watchdog, clock):
  clock.seconds += 500
  watchdog.skip(500)
  assert watchdog.judge() == ("", False)


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ((-1.0, 60.0, 600.0), "hang.medians must be at least 0"),
    ((20.0, 0.0, 600.0), "hang.least_seconds must be at least 1"),
    ((20.0, 60.0, -1.0), "hang.end_seconds must be at least 0"),
    ((20.0, 1200.0, 4e5), "at most 302400; got 401200"),
  ],
)
def test_limits_that_cannot_be(values, words):
  with pytest.raises(ValueError, match=words):
    hung_processes.HangConfig(*values).check()
