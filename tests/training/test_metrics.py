"""metrics.jsonl and the progress line."""

import contextlib
import io
import json
import resource

import pytest

from training import event_file, metrics


def _write(folder, first_step, steps, **extra):
  writer = metrics.Writer(folder, "m.jsonl", first_step)
  for step in steps:
    writer.write(step, {"train/loss": step / 2} | extra)
  writer.close()


def _lines(folder):
  return (folder / "m.jsonl").read_text().splitlines()


def _rows(folder):
  return [json.loads(line) for line in _lines(folder)]


def test_one_object_a_line(tmp_path):
  _write(tmp_path, 0, (1, 2))
  assert _rows(tmp_path) == [
    {"step": 1, "train/loss": 0.5},
    {"step": 2, "train/loss": 1.0},
  ]


def test_a_line_is_there_at_once(tmp_path):
  writer = metrics.Writer(tmp_path, "m.jsonl", 0)
  writer.write(1, {"train/loss": 0.5})
  assert len(_rows(tmp_path)) == 1
  writer.close()


def test_later_lines_are_dropped_on_resume(tmp_path):
  _write(tmp_path, 0, range(1, 8))
  whole = _lines(tmp_path)
  _write(tmp_path, 4, range(5, 8))
  assert _lines(tmp_path) == whole


def test_lines_of_the_step_itself(tmp_path):
  """Training's stay; evaluations and the clock of that step come again."""
  writer = metrics.Writer(tmp_path, "m.jsonl", 0)
  for step in (3, 4):
    writer.write(step, {"train/loss": 1.0})
    writer.write(step, {"time/images_per_s": 5.0})
    writer.write(step, {"compositional/R@1": 0.5})
  writer.close()
  _write(tmp_path, 4, ())
  assert [sorted(row)[0] for row in _rows(tmp_path)] == [
    "step",
    "step",
    "compositional/R@1",
    "step",
  ]
  assert [row["step"] for row in _rows(tmp_path)] == [3, 3, 3, 4]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line(cut, tmp_path):
  """However little of the last line is there, the file stays readable."""
  _write(tmp_path, 0, (1, 2, 3))
  path = tmp_path / "m.jsonl"
  whole = path.read_bytes()
  path.write_bytes(whole[:-cut])
  _write(tmp_path, 2, (3,))
  assert path.read_bytes() == whole


def test_cut_off_before_the_end_of_a_line_that_stays(tmp_path):
  _write(tmp_path, 0, (1, 2))
  path = tmp_path / "m.jsonl"
  path.write_bytes(path.read_bytes()[:-1])  # the newline alone
  _write(tmp_path, 2, (3,))
  assert [row["step"] for row in _rows(tmp_path)][-1] == 3


def test_bytes_that_are_no_text(tmp_path):
  """A file system may leave anything in blocks that were not written."""
  _write(tmp_path, 0, (1, 2))
  path = tmp_path / "m.jsonl"
  whole = path.read_bytes()
  path.write_bytes(whole + b"\x00\xff\x00")
  _write(tmp_path, 2, ())
  assert path.read_bytes() == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_never_written(value, tmp_path):
  writer = metrics.Writer(tmp_path, "m.jsonl", 0)
  with contextlib.closing(writer):
    writer.write(1, {"train/loss": 1.0})
    writer.write(2, {"train/loss": value})
  assert [row["train/loss"] for row in _rows(tmp_path)] == [1.0, None]


class _Terminal(io.StringIO):
  def isatty(self):
    return True


class _Clock:
  """Time that passes when it is told to."""

  def __init__(self, monkeypatch):
    self.now, self.date = 100.0, 1e9
    monkeypatch.setattr(metrics.time, "monotonic", lambda: self.now)
    monkeypatch.setattr(metrics.time, "time", lambda: self.now + self.date)


@pytest.fixture
def clock(monkeypatch):
  return _Clock(monkeypatch)


def _progress(stream, first_step=0):
  return metrics.Progress(
    first_step=first_step, total_steps=1000, batch_size=8, stream=stream
  )


def test_progress_on_a_terminal(clock):
  stream = _Terminal()
  progress = _progress(stream, first_step=100)
  for step in range(101, 121):
    clock.now += 0.5
    progress.update(step, 2.0 + step / 1000)
  progress.end_line()
  *_, last = stream.getvalue().split("\r")
  # 20 steps of 8 in 10 s; 880 steps are left.
  assert "step 120/1000  loss 2.1200  16 images/s  7:20 left" in last
  assert stream.getvalue().count("\n") == 1
  assert stream.getvalue().endswith("\n")
  progress.end_line()
  assert stream.getvalue().count("\n") == 1


def test_progress_is_not_shown_more_often_than_can_be_read(clock):
  stream = _Terminal()
  progress = _progress(stream)
  for step in range(1, 1001):
    clock.now += 0.001
    progress.update(step, 1.0)
  assert 5 <= stream.getvalue().count("\r") <= 15
  assert "step 1000/1000" in stream.getvalue()


def test_progress_without_a_terminal(clock, capsys):
  progress = _progress(io.StringIO())
  for step in range(1, 1001):
    clock.now += 0.1
    progress.update(step, 1.0)
  lines = capsys.readouterr().err.splitlines()
  assert 3 <= len(lines) <= 5  # 100 seconds, one in 30
  assert lines[-1].startswith("step 1000/1000  loss 1.0000")
  assert lines[-1].endswith("0:00 left")
  assert not any("\r" in line or "\x1b" in line for line in lines)


def test_pauses_do_not_count(clock):
  progress = _progress(io.StringIO())
  clock.now += 2.0
  with progress.pause():
    clock.now += 100.0
  assert progress.images_per_s(10) == pytest.approx(40.0)


def test_hours(clock):
  stream = _Terminal()
  progress = _progress(stream)
  clock.now += 10.0
  progress.update(1, 1.0)
  assert "2:46:30 left" in stream.getvalue()


def test_the_time_of_a_step_has_no_pauses(clock):
  progress = _progress(io.StringIO())
  assert progress.step_seconds() == 0
  clock.now += 9.0  # the first one waits for data
  progress.update(1, 2.0)
  assert progress.step_seconds() == 9.0
  for step in range(2, 80):
    clock.now += 0.5
    progress.update(step, 2.0)
    with progress.pause():
      clock.now += 3.0
  assert progress.step_seconds() == 0.5


def test_a_clock_that_is_set_and_a_machine_that_stood_still(clock, capsys):
  progress = _progress(_Terminal())
  for step in range(1, 5):
    clock.now += 10.0
    progress.update(step, 2.0)
  assert capsys.readouterr().err == ""
  clock.date -= 3600
  progress.update(5, 2.0)
  assert "The machine's clock jumped by -3600 s;" in capsys.readouterr().err
  clock.now += 61.0
  progress.update(6, 2.0)
  assert "No step ended for 61 s: a process was" in capsys.readouterr().err
  with progress.pause():  # an evaluation
    clock.now += 300.0
  clock.now += 10.0
  progress.update(7, 2.0)
  assert capsys.readouterr().err == ""


@contextlib.contextmanager
def _full_disk(num_bytes):
  """Let no file of this process grow beyond some bytes."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_events_that_cannot_be_written_fail_in_the_loop(tmp_path, monkeypatch):
  """Their thread ended, and the loop waited for it."""
  monkeypatch.setattr(event_file, "_FLUSH_SECONDS", 0.0)
  writer = metrics.Writer(tmp_path, "m.jsonl", 0)
  (events,) = (tmp_path / "tensorboard").iterdir()

  def write():
    for step in range(1, 100):
      writer.write(step, {"evaluation/a": 1.0, "evaluation/b": 2.0})

  with _full_disk(2000), pytest.raises(OSError, match="large"):
    write()
  assert 1000 < events.stat().st_size <= 2000
  writer.close()
