"""Worker processes: one start of them for all that has to be seen."""

import dataclasses
import itertools
import os
import pathlib
import signal
import time

import numpy as np
import pytest

from input_pipeline import clocks as clocks_lib
from input_pipeline import pipeline, sources, workers
from tests.input_pipeline import fake_source


def _alive(pids) -> list[int]:
  return [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]


def test_workers(monkeypatch, tmp_path):
  broken = dict.fromkeys(range(0, 60, 7), "image")
  records = fake_source.Records("a", 60, broken)
  monkeypatch.setitem(
    sources.FORMATS, "fake", fake_source.format_of({"main": records})
  )
  config = fake_source.config(tmp_path)

  def start(num_workers, num_threads, position=0, clocks=None):
    changed = dataclasses.replace(
      config, num_workers=num_workers, num_threads=num_threads
    )
    iterator = iter(
      pipeline.make_train_dataset(
        changed,
        batch_size=6,
        seed=0,
        rows=(0, 1, 4),
        with_labels=True,
        clocks=clocks,
      )
    )
    iterator.set_state({"next_index": position})
    return iterator

  # The same as threads make, from the middle of an epoch on.
  expected = start(0, 1, 3)
  iterator = start(2, 2, 3)
  assert iterator.get_state() == {"next_index": 3}
  for step in range(4, 9):
    want, got = next(expected), next(iterator)
    assert set(got) == set(want) == {"images", "tokens", "labels", "faults"}
    for name in ("images", "tokens", "labels"):
      assert got[name].dtype == want[name].dtype
      np.testing.assert_array_equal(got[name], want[name])
    assert got["faults"] == want["faults"]
    assert iterator.get_state() == expected.get_state() == {"next_index": step}

  # One that is killed is an error with its name, and the others end.
  pids = [worker.process.pid for worker in iterator._pool.workers]
  os.kill(pids[1], signal.SIGTERM)  # which is not for them
  next(iterator)
  os.kill(pids[1], signal.SIGKILL)
  with pytest.raises(
    workers.WorkerError, match=r"data worker 1 \(process .* SIGKILL"
  ):
    list(itertools.islice(iterator, 10))
  assert not _alive(pids)

  # A worker's exception is raised here, with its own traceback.
  records.broken[30] = "defect"
  (tmp_path / "clocks").mkdir()
  iterator = start(1, 1, clocks=clocks_lib.Clocks(str(tmp_path / "clocks")))
  batch, called = next(iterator), time.monotonic()
  pids = [worker.process.pid for worker in iterator._pool.workers]
  with pytest.raises(
    RuntimeError, match=r"TypeError: .*imported \[\]"
  ) as raised:
    list(itertools.islice(iterator, 60))
  assert "in data worker 0:" in str(raised.value.__cause__)
  assert "__getitem__" in str(raised.value.__cause__)
  assert not _alive(pids)

  # The seconds of a worker's stages are in the batch, and its thread is seen.
  work = clocks_lib.pop(batch)
  assert set(batch) == {"images", "tokens", "labels", "faults"}
  assert work.num_examples == 3
  assert (work.seconds > 0).all()
  assert work.assembled < called
  (doing,) = clocks_lib.look(str(tmp_path / "clocks"))
  assert doing.process == pids[0]


def test_arrays_are_where_they_can_be_changed_and_go_when_they_go():
  made = [
    {
      "images": np.full((5, 3), i, np.uint8),
      "tokens": np.arange(3),
      "faults": (),
    }
    for i in range(4)
  ]
  before = len(os.listdir("/proc/self/fd"))
  layout, handle = workers._share(made)
  arrays = workers._arrays(layout, handle)
  np.testing.assert_array_equal(arrays["images"][:, 0, 0], range(4))
  np.testing.assert_array_equal(arrays["tokens"], [[0, 1, 2]] * 4)
  assert all(array.ctypes.data % 64 == 0 for array in arrays.values())
  arrays["images"][:] = 1
  del arrays
  # mmap keeps a handle of its own for as long as there are arrays.
  deadline = time.monotonic() + 5
  while len(os.listdir("/proc/self/fd")) > before:
    assert time.monotonic() < deadline
