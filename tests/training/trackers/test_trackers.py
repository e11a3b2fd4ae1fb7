"""Trackers: order of steps, and failures that a run does not notice."""

import re
import time

import pytest

from runtime.storage import bucket_path
from tests import bucket_emulators as emulators
from tests import runs
from tests.training.trackers import fake_tracker
from training import metrics
from training.run import starts
from training.trackers import trackers as trackers_lib

_FAKE = {"fake": "tests.training.trackers.fake_tracker"}
_RUN = {"config": {"seed": 3}, "record": {"commit": "abc"}}


def _open(tmp_path, way="works", first_step=0, *, folder=None):
  """Return writer and trackers of a start, as a run makes them."""
  folder = folder or tmp_path
  writer = metrics.Writer(folder, "metrics.jsonl", first_step)
  trackers = trackers_lib.Trackers(
    trackers_lib.TrackersConfig((), str(tmp_path / "fake"), way),
    folder / "metrics.jsonl",
    _RUN,
    modules=_FAKE,
  )
  writer.copy_to(trackers)
  return writer, trackers


def _train(writer, first, last):
  for step in range(first, last + 1):
    writer.write(step, {"train/loss": float(step)})
    if step % 5 == 0:
      writer.write(step, {"set/R@1": step / 10})


def _steps(tmp_path):
  lines = fake_tracker.lines(tmp_path / "fake")
  return [line["step"] for line in lines if "step" in line]


def _wait(condition):
  deadline = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def test_figures_of_a_step_are_one_line(tmp_path):
  writer, trackers = _open(tmp_path)
  writer.write(0, {"compile/seconds": 2.0})
  _train(writer, 1, 10)
  writer.write(10, {"set/mAP": float("nan"), "set/top_1": 1.0})
  trackers.close(is_finished=True)
  writer.close()
  first, *lines, last = fake_tracker.lines(tmp_path / "fake")
  id_ = (tmp_path / trackers_lib.ID).read_text().strip()
  assert first == {"id": id_, "config": {"seed": 3}}
  assert last == {"is_finished": True}
  assert lines[0] == {"step": 0, "compile/seconds": 2.0}
  assert [line["step"] for line in lines] == list(range(11))
  assert lines[5] == {"step": 5, "train/loss": 5.0, "set/R@1": 0.5}
  assert lines[10] == {
    **{"step": 10, "train/loss": 10.0, "set/R@1": 1.0},
    "set/top_1": 1.0,
  }


def test_a_resumed_run_goes_on(tmp_path):
  """From an earlier step than the tracker's, and from a later one."""
  writer, trackers = _open(tmp_path)
  _train(writer, 1, 8)
  trackers.close()
  writer.close()
  assert _steps(tmp_path) == list(range(1, 8))  # the next start may evaluate 8

  writer, trackers = _open(tmp_path, first_step=5)
  writer.write(5, {"set/R@1": 0.5})
  _train(writer, 6, 10)
  trackers.close()
  writer.close()
  assert _steps(tmp_path) == list(range(1, 10))

  # A start without trackers: its steps are in metrics.jsonl.
  writer = metrics.Writer(tmp_path, "metrics.jsonl", 10)
  writer.write(10, {"set/R@1": 1.0})
  _train(writer, 11, 14)
  writer.close()
  writer, trackers = _open(tmp_path, first_step=14)
  _train(writer, 15, 16)
  trackers.close(is_finished=True)
  writer.close()
  assert _steps(tmp_path) == list(range(1, 17))
  lines = fake_tracker.lines(tmp_path / "fake")
  assert len({line["id"] for line in lines if "id" in line}) == 1
  assert {"step": 10, "train/loss": 10.0, "set/R@1": 1.0} in lines


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["gs"])
def test_a_run_in_a_bucket_goes_on(tmp_path, scheme):
  with (
    emulators.started(scheme) as emulator,
    emulators.connected(emulator.variables),
  ):
    folder = bucket_path.make(f"{emulator.root}/run")
    for first_step, last in ((0, 8), (5, 10)):
      writer, trackers = _open(tmp_path, "", first_step, folder=folder)
      _train(writer, first_step + 1, last)
      with starts.recorded(folder, first_step, time.monotonic()):
        pass
      trackers.close()
      writer.close()
    # A start without trackers, whose steps only the bucket has.
    writer = metrics.Writer(folder, "metrics.jsonl", 10)
    _train(writer, 11, 12)
    writer.close()
    writer, trackers = _open(tmp_path, "", 12, folder=folder)
    _train(writer, 13, 14)
    trackers.close(is_finished=True)
    writer.close()
    id_ = (folder / trackers_lib.ID).read_text().strip()
    assert starts.total(folder).num_starts == 2
  assert _steps(tmp_path) == list(range(1, 15))
  lines = fake_tracker.lines(tmp_path / "fake")
  assert {line["id"] for line in lines if "id" in line} == {id_}


def test_a_killed_run_sends_what_it_wrote(tmp_path):
  writer, trackers = _open(tmp_path)
  _train(writer, 1, 9)
  (sender,) = trackers._senders
  _wait(sender._lines.empty)
  sender._process.stdin.close()  # as the kernel does
  assert sender._process.wait() == 0
  writer.close()
  assert _steps(tmp_path) == list(range(1, 9))
  last = fake_tracker.lines(tmp_path / "fake")[-1]
  assert last == {"is_finished": False}


@pytest.mark.parametrize(
  ("way", "said"),
  [
    (
      "fails",
      r"warning: tracker fake failed \(ValueError: no such service\); the run"
      r" goes on without it, and .*/metrics.jsonl has all figures",
    ),
    ("dies", r"warning: tracker fake ended \(exit code -9\); the run goes on"),
  ],
)
def test_a_failure_is_one_line(tmp_path, capfd, monkeypatch, way, said):
  monkeypatch.setattr(trackers_lib, "_RETRY_SECONDS", 0.0)
  writer, trackers = _open(tmp_path, way)
  for start in (1, 6, 11):
    _train(writer, start, start + 4)
    (sender,) = trackers._senders
    _wait(lambda sender=sender: not sender.is_alive())
    writer.sync()  # starts it anew, without a word
  trackers.close(is_finished=True)
  writer.close()
  assert len(runs.rows(tmp_path)) == 15 + 3
  err = capfd.readouterr().err.replace("fake: http://fake\n", "")
  (line,) = err.splitlines()
  assert re.match(said, line)


def test_a_failed_tracker_gets_what_it_lacks(tmp_path, monkeypatch):
  monkeypatch.setattr(trackers_lib, "_RETRY_SECONDS", 0.0)
  writer, trackers = _open(tmp_path, "fails once")
  _train(writer, 1, 8)
  (sender,) = trackers._senders
  _wait(lambda: not sender.is_alive())
  assert _steps(tmp_path) == [1, 2]
  writer.write(9, {"train/loss": 9.0})  # nobody takes it
  writer.sync()
  _train(writer, 10, 12)
  trackers.close(is_finished=True)
  writer.close()
  assert _steps(tmp_path) == list(range(1, 13))


@pytest.mark.parametrize("way", ["hangs", "hangs at begin"])
def test_a_tracker_that_hangs_stops_nothing(tmp_path, capfd, monkeypatch, way):
  monkeypatch.setattr(trackers_lib, "_MOST_LINES", 500)
  monkeypatch.setattr(trackers_lib, "_LAST_SECONDS", 0.3)
  writer, trackers = _open(tmp_path, way)
  (sender,) = trackers._senders
  started = time.monotonic()
  for step in range(1, 4001):  # more than queue and pipe take
    writer.write(step, {"train/loss": 1.0, "x" * 50: 1.0})
  trackers.close(is_finished=True)
  seconds = time.monotonic() - started
  writer.close()
  # A write or an end that waits for the tracker waits for its 1,000 seconds.
  assert seconds < 60
  assert len(runs.rows(tmp_path)) == 4000
  assert sender._process.returncode == -9
  warnings = [
    line for line in capfd.readouterr().err.splitlines() if "warning" in line
  ]
  assert len(warnings) == 1
  assert "does not take 500 lines that wait for it" in warnings[0]


def test_the_last_lines_have_a_time(tmp_path, capfd, monkeypatch):
  monkeypatch.setattr(trackers_lib, "_LAST_SECONDS", 0.3)
  writer, trackers = _open(tmp_path, "hangs")
  _train(writer, 1, 5)
  started = time.monotonic()
  trackers.close(is_finished=True)
  assert time.monotonic() - started < 5
  writer.close()
  assert "did not take the last lines in time" in capfd.readouterr().err


def test_a_signal_cuts_the_time_short(tmp_path, monkeypatch):
  monkeypatch.setattr(trackers_lib, "_LAST_SECONDS", 1000.0)
  monkeypatch.setattr(trackers_lib, "_STOPPED_SECONDS", 0.2)
  writer, trackers = _open(tmp_path, "hangs")
  _train(writer, 1, 5)
  trackers.close(is_finished=True, should_stop=lambda: True)
  writer.close()


def test_without_trackers_nothing_is_started(tmp_path):
  trackers = trackers_lib.Trackers(
    trackers_lib.TrackersConfig(), tmp_path / "metrics.jsonl", _RUN
  )
  trackers.write(1, {"train/loss": 1.0})
  trackers.sync()
  trackers.close(is_finished=True)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"names": ("tensorboard",)},
      "trackers.names must be .*wandb.*; got 'tensorboard'",
    ),
    (
      {"names": ("wandb", "wandb")},
      r"trackers.names must name each .*; got \('wandb', 'wandb'\)",
    ),
    (
      {"names": ("wandb",), "project": ""},
      'trackers.project must be a name; got ""',
    ),
  ],
)
def test_fields(changes, message):
  with pytest.raises(ValueError, match=message):
    trackers_lib.TrackersConfig(**changes).check()


def test_a_folder_is_no_package(tmp_path, monkeypatch):
  """wandb leaves a folder of that name where it was started."""
  (tmp_path / "wandb").mkdir()
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(
    ValueError,
    match=r"got 'wandb', without its package wandb: pip install -r"
    r" requirements-trackers.txt",
  ):
    trackers_lib.TrackersConfig(("wandb",)).check_installed()
