"""Clocks of stages: sums, what travels in a batch, what others can see."""

import pickle
import subprocess
import sys
import threading
import time

import grain
import numpy as np
import pytest

from input_pipeline import clocks as clocks_lib


class Time:
  """A clock that goes when it is told to."""

  def __init__(self):
    self.now = 1000.0

  def monotonic(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch) -> Time:
  fake = Time()
  monkeypatch.setattr(clocks_lib, "time", fake)
  return fake


def test_seconds_are_summed_by_stage_also_when_one_comes_twice(clock, tmp_path):
  timer = clocks_lib.Clocks(str(tmp_path)).start("first")
  clock.now += 1
  timer.enter("image")
  clock.now += 4
  timer.enter("read", "its substitute")
  clock.now += 2
  timer.stop()
  clock.now += 100
  expected = {"read": 3, "caption": 0, "image": 4, "tokenize": 0, "batch": 0}
  assert dict(zip(clocks_lib.STAGES, timer.seconds(), strict=True)) == expected


def test_an_example_that_failed_leaves_nothing_to_the_next(clock, tmp_path):
  clocks = clocks_lib.Clocks(str(tmp_path))
  clocks.start("fails")
  clock.now += 7
  timer = clocks.start("works")
  clock.now += 1
  timer.stop()
  assert timer.seconds().sum() == 1


def test_others_see_stage_start_and_the_end_of_a_long_name(clock, tmp_path):
  timer = clocks_lib.Clocks(str(tmp_path)).start("web[12]")
  (doing,) = clocks_lib.look(str(tmp_path))
  assert (doing.stage, doing.since, doing.what) == ("read", 1000.0, "web[12]")
  assert doing.thread == threading.get_native_id()
  clocks_lib.about("s3://bucket/" + 40 * "long/" + "00012.tar")
  clock.now += 1
  timer.enter("image")
  (doing,) = clocks_lib.look(str(tmp_path))
  assert (doing.stage, doing.since) == ("image", 1001.0)
  assert doing.what.endswith("long/00012.tar")
  timer.stop()
  assert [doing.stage for doing in clocks_lib.look(str(tmp_path))] == [""]
  assert clocks_lib.look(str(tmp_path / "deleted")) == []


def test_about_is_of_this_thread_and_nothing_without_a_clock(tmp_path):
  clocks_lib.Clocks(str(tmp_path)).start("mine")
  thread = threading.Thread(target=clocks_lib.about, args=("other",))
  thread.start()
  thread.join()
  assert [doing.what for doing in clocks_lib.look(str(tmp_path))] == ["mine"]


def test_a_folder_that_is_gone_does_not_stop_the_clock(tmp_path):
  timer = clocks_lib.Clocks(str(tmp_path / "gone")).start("example")
  timer.stop()
  assert timer.seconds().shape == (len(clocks_lib.STAGES),)


def test_a_process_that_was_killed_in_a_stage_is_seen_in_it(tmp_path):
  script = (
    "import os, signal; from input_pipeline import clocks;"
    f"clocks.Clocks({str(tmp_path)!r}).start('x').enter('image', 'photo 7');"
    "os.kill(os.getpid(), signal.SIGKILL)"
  )
  process = subprocess.Popen([sys.executable, "-c", script])
  process.wait(timeout=60)
  (doing,) = clocks_lib.look(str(tmp_path))
  assert doing.process == process.pid
  assert (doing.stage, doing.what) == ("image", "photo 7")


def test_clocks_of_threads_travel_in_the_batch_and_are_popped(tmp_path):
  # Sent to workers like this.
  clocks = pickle.loads(pickle.dumps(clocks_lib.Clocks(str(tmp_path))))

  def example(index: int) -> dict[str, np.ndarray]:
    timer = clocks.start(str(index))
    timer.enter("image")
    np.sort(np.arange(20_000)[::-1] % 97)
    timer.stop()
    return {"tokens": np.array([index]), clocks_lib.SECONDS: timer.seconds()}

  def stack(examples):
    start = time.monotonic()
    batch = {k: np.stack([e[k] for e in examples]) for k in examples[0]}
    return batch | {clocks_lib.ASSEMBLED: clocks_lib.assembled(start)}

  dataset = (
    grain.MapDataset.range(12)
    .map(example)
    .batch(4, batch_fn=stack)
    .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=3))
  )
  batches = list(dataset)
  works = [clocks_lib.pop(batch) for batch in batches]
  assert [list(batch) for batch in batches] == [["tokens"]] * 3
  for work in works:
    assert work.num_examples == 4
    seconds = dict(zip(clocks_lib.STAGES, work.seconds, strict=True))
    assert seconds["image"] > 0
    assert seconds["batch"] > 0
    assert seconds["caption"] == seconds["tokenize"] == 0
  assert clocks_lib.pop(batches[0]) is None
