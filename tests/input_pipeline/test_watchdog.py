"""Waiting for data: how long, since when it counts, what is said of it."""

import dataclasses
import pathlib
import tempfile
import threading

import numpy as np
import pytest

from configs import base
from configs.parts import sources
from input_pipeline import clocks, watchdog
from training import config as config_lib

NUM_EXAMPLES = 8


class Loop:
  """A loop whose data and steps take the seconds that a test says."""

  def __init__(self, folder, **changes):
    config = base.get_config()
    config.data.sources.main = sources.source(
      format="webdataset", path=changes.pop("path", "/data/{0..9}.tar")
    )
    # Whether the format is there does not matter here: no check.
    data = config_lib.from_mapping(config.to_dict()).data
    self.config = dataclasses.replace(data, **changes)
    self.now = 0.0
    self.said: list[str] = []
    self.dog = watchdog.Watchdog(
      self.config, str(folder), self.said.append, lambda: self.now
    )

  def step(self, data=0.0, compute=0.0, work=None, transfer=0.0):
    """Wait for a batch, then compute; `work` is of the whole batch."""

    def batches():
      self.now += data
      yield make_batch(work or {"image": 1.0}, self.now - transfer)

    batch = self.dog.next(batches())
    self.now += compute
    return batch


def make_batch(seconds: dict[str, float], assembled: float):
  rows = np.zeros((NUM_EXAMPLES, len(clocks.STAGES)), np.float32)
  for stage, value in seconds.items():
    rows[:, clocks.STAGES.index(stage)] = value / NUM_EXAMPLES
  return {
    "images": np.zeros((NUM_EXAMPLES, 1)),
    clocks.SECONDS: rows,
    clocks.ASSEMBLED: np.array([0.0, assembled]),
  }


def test_folders_of_killed_loops_are_deleted(tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  (tmp_path / "diptych-stages-killed").mkdir()
  (tmp_path / "diptych-stages-killed" / "1-2").write_bytes(b"read")
  (tmp_path / "other").mkdir()
  data = Loop(tmp_path).config
  with watchdog.watch(data) as first, watchdog.watch(data) as second:
    folders = {pathlib.Path(x.clocks.folder) for x in (first, second)}
    assert set(tmp_path.iterdir()) == {*folders, tmp_path / "other"}
  assert list(tmp_path.iterdir()) == [tmp_path / "other"]


@pytest.fixture
def loop(tmp_path) -> Loop:
  return Loop(tmp_path)


def test_metrics_are_the_share_of_waiting_and_milliseconds_a_stage(loop):
  loop.step(data=30.0)
  for _ in range(5):
    batch = loop.step(1.0, 3.0, {"read": 0.016, "image": 0.08})
  assert list(batch) == ["images"]
  values = loop.dog.report()
  assert values["data/wait_fraction"] == pytest.approx(0.25)
  # 0.08 s over 8 examples; float32 holds 7 digits.
  assert values["data/image_ms"] == pytest.approx(10, rel=1e-6)
  assert values["data/read_ms"] == pytest.approx(2, rel=1e-6)
  assert values["data/tokenize_ms"] == 0
  loop.step(0.0, 4.0)
  assert loop.dog.report()["data/wait_fraction"] == 0  # since the last report


def test_the_first_batch_does_not_count(loop):
  assert loop.dog.report() == {}
  loop.step(data=500.0)
  assert loop.dog.report() == {}
  loop.step(0.0, 100.0)
  assert loop.dog.report()["data/wait_fraction"] == 0
  assert not loop.said


def test_a_wait_while_the_device_is_busy_is_no_wait(loop):
  loop.step()
  finished, noted = threading.Event(), threading.Event()

  def batches():
    loop.now += 6.0  # the device is busy
    finished.set()
    # Its turn is after the one of the step.
    loop.dog._finisher.wait_for(noted.set)
    noted.wait(10)
    loop.now += 2.0  # it is idle
    yield make_batch({}, loop.now)

  loop.dog.next(batches(), lambda: finished.wait(10))
  loop.now += 2.0
  loop.dog.close()
  assert loop.dog.report()["data/wait_fraction"] == pytest.approx(0.2)


def test_a_step_that_is_not_done_when_the_batch_comes_waited_for_nothing(loop):
  loop.step()
  free = threading.Event()
  loop.dog.next(iter([make_batch({}, 0.0)]), lambda: free.wait(10))
  loop.now += 1.0
  assert loop.dog.report()["data/wait_fraction"] == 0
  free.set()
  loop.dog.close()


def test_a_step_that_failed_is_left_to_the_loop(loop):
  loop.step()

  def finished():
    raise RuntimeError("out of memory")

  for _ in range(2):
    loop.dog.next(iter([make_batch({}, 0.0)]), finished)
  loop.dog.close()


def run_for_a_minute(loop: Loop, **step) -> None:
  """Make steps of 1 s that wait 0.5 s for data."""
  for _ in range(61):
    loop.step(0.5, 0.5, **step)
    loop.dog.report()


def test_a_warning_names_the_share_the_stages_and_what_helps(tmp_path):
  loop = Loop(tmp_path, num_workers=0, num_threads=0)
  work = {"image": 0.023, "read": 0.0065, "tokenize": 0.0027, "caption": 1e-5}
  run_for_a_minute(loop, work=work)
  (said,) = loop.said
  assert said == (
    "the step waited for data 50% of the last 60 s; the work on an example"
    " (4.0 ms) is image 71%, read 20%, tokenize 8%: raise data.num_threads (now"
    " 0); nothing is made while the step runs"
  )


def test_a_warning_is_not_said_again_for_ten_minutes(loop):
  for _ in range(9):
    run_for_a_minute(loop)
  assert len(loop.said) == 1
  for _ in range(3):
    run_for_a_minute(loop)
  assert len(loop.said) == 2


def test_little_waiting_is_not_worth_a_warning(loop):
  for _ in range(200):
    loop.step(0.09, 0.91)
    loop.dog.report()
  assert not loop.said


def test_batches_that_are_late_though_made_are_told_apart(tmp_path):
  loop = Loop(tmp_path, num_workers=4)
  run_for_a_minute(loop, transfer=0.4)
  (said,) = loop.said
  assert (
    "of the wait 80% is for batches that were made but not yet transferred"
    in said
  )
  assert "data.num_workers (now 4)" in said


@pytest.mark.parametrize(
  ("stage", "changes", "expected"),
  [
    ("read", {}, "--task=prepare"),
    ("read", {"path": "s3://a/b.tar"}, "data.sources.main to a local disk"),
    ("image", {"num_threads": 2}, "raise data.num_threads (now 2) or"),
    ("image", {"num_threads": 8}, "8 threads for 8 cores"),
    ("image", {"num_workers": 3, "num_threads": 3}, "9 threads for 8 cores"),
    ("tokenize", {}, "raise data.num_workers (now 0, 8 cores); threads do not"),
    ("caption", {"num_workers": 8}, "more cores a device"),
    ("batch", {}, "raise data.num_workers"),
  ],
)
def test_advice_follows_from_the_stage(tmp_path, stage, changes, expected):
  loop = Loop(tmp_path, **changes)
  assert expected in watchdog.advice(loop.config, stage, 8)


def test_a_stall_says_who_does_what_once_a_period(loop):
  timer = loop.dog.clocks.start("web[12]")
  timer.enter("read", "s3://bucket/00012.tar")
  said = []

  def batches():
    since = loop.now
    for seconds in (59.0, 60.5, 61.0, 119.0, 121.0, 122.0, 181.0):
      loop.now = since + seconds
      said.append(loop.dog.stall(loop.now))
    yield {}

  assert loop.dog.stall(1e9) == ""  # nobody waits
  loop.dog.next(batches())
  timer.stop()
  assert loop.dog.stall(1e9) == ""
  told = [text for text in said if text]
  assert [bool(text) for text in said] == [0, 1, 0, 0, 1, 0, 1]
  assert "no batch for 60 s (data.stall_seconds=60)" in told[0]
  assert "this process" in told[0]
  assert "read of s3://bucket/00012.tar for" in told[0]


def test_a_stall_before_any_example_says_so_and_idle_threads_are_counted(loop):
  def batches(expected):
    loop.now += 60.0
    assert expected in loop.dog.stall(loop.now)
    yield {}

  loop.dog.next(batches("No thread has begun an example"))
  loop.dog.clocks.start("").stop()
  loop.dog.next(batches("1 between two examples"))


def test_a_thread_speaks_while_the_loop_is_blocked(tmp_path):
  config = Loop(tmp_path).config
  said = threading.Event()
  texts = []

  def say(text):
    texts.append(text)
    said.set()

  before = threading.active_count()
  config = dataclasses.replace(config, stall_seconds=0.02)
  with watchdog.watch(config, say) as dog:
    # Blocks until it is said, or the test fails.
    dog.next(iter(lambda: {"said": said.wait(10)}, None))
  assert texts[0].startswith("no batch for")
  for thread in threading.enumerate():
    if thread.name.endswith("(look_for_stalls)"):
      thread.join(10)
  assert threading.active_count() == before
  with watchdog.watch(dataclasses.replace(config, stall_seconds=0)):
    assert threading.active_count() == before
