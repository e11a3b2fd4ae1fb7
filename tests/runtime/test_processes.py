"""Worker processes: results, failures and how they end."""

import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import pytest

from input_pipeline import faults
from runtime import processes as processes_lib
from tests.runtime import pool_tasks


@pytest.fixture(scope="module")
def processes():
  made = processes_lib.Pool(2)
  yield made
  made.close()


def test_a_killed_worker_fails_its_own_task_only(processes):
  results = dict(processes.run(pool_tasks.maybe_die, range(6)))
  killed, failed = results.pop(2), results.pop(3)
  assert results == {0: 0, 1: 1, 4: 4, 5: 5}
  assert killed.was_killed
  assert "was killed by SIGKILL" in str(killed)
  assert (failed.kind, failed.disk_is_full) == ("OSError", True)
  assert "maybe_die" in failed.trace


def test_what_is_under_way_is_given_up_with_the_run(processes):
  run = processes.run(pool_tasks.sleep, [0, 60])
  assert next(run) == (0, 0)
  run.close()  # at once, not in a minute
  assert dict(processes.run(pool_tasks.square, [3, 4])) == {0: 9, 1: 16}


def test_what_cannot_be_sent_is_an_error_of_ours(processes):
  with pytest.raises((pickle.PicklingError, AttributeError)):
    list(processes.run(lambda task: task, [1]))


def test_workers_end_with_the_engine(processes):
  (number,) = dict(processes.run(pool_tasks.process_id, [0])).values()
  processes.close()
  with pytest.raises(ProcessLookupError):
    os.kill(number, 0)


def test_workers_tell_before_they_are_done(processes):
  told = []
  results = processes.run(
    pool_tasks.tells, [5, 6], lambda number, x: told.append((number, x))
  )
  assert dict(results) == {0: 5, 1: 6}
  for number, task in enumerate([5, 6]):
    mine = [x for of, x in told if of == number]
    assert mine == [(task, part) for part in range(3)]


def test_an_error_where_something_is_told_ends_the_run(processes):
  def told(number, content):
    raise KeyError(number, content)

  with pytest.raises(KeyError):
    list(processes.run(pool_tasks.tells, [5], told))
  assert dict(processes.run(pool_tasks.square, [3])) == {0: 9}


def test_results_raise_what_a_task_raised(processes):
  with pytest.raises(faults.ExampleError, match="^image 7$") as raised:
    list(processes.results(pool_tasks.raises, [7]))
  assert raised.value.kind == "image_broken"
  assert "in raises" in raised.value.__cause__.trace
  with pytest.raises(OSError, match="space left") as raised:
    list(processes.results(pool_tasks.maybe_die, [3]))
  assert (raised.value.errno, raised.value.filename) == (28, "some/file")
  with pytest.raises(
    OSError,
    match=r"^worker \(process \d+\) was killed by SIGKILL.* try fewer --n",
  ):
    list(processes.results(pool_tasks.maybe_die, [2]))


def test_arrow_has_one_thread_in_a_worker(processes):
  assert dict(processes.run(pool_tasks.arrow_threads, [0])) == {0: (1, 2)}


def _is_alive(pid) -> bool:
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"


_PARENT = """
from runtime import processes
from tests.runtime import pool_tasks

if __name__ == "__main__":
  run = processes.Pool(2).run(pool_tasks.process_id_then_sleep, [0, 60, 60])
  print(next(run)[1], flush=True)
  print(next(run)[1], flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, how):
  """Also in the midst of a task."""
  (tmp_path / "parent.py").write_text(_PARENT)
  with subprocess.Popen(
    [sys.executable, str(tmp_path / "parent.py")],
    env=os.environ | {"PYTHONPATH": os.getcwd()},
    stdout=subprocess.PIPE,
    text=True,
  ) as parent:
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert _is_alive(pid)
    parent.send_signal(how)
  deadline = time.monotonic() + 10
  while _is_alive(pid):
    assert time.monotonic() < deadline
    time.sleep(0.01)


def test_a_task_error_can_be_sent():
  error = processes_lib.TaskError("OSError", "full", "trace", disk_is_full=True)
  again = pickle.loads(pickle.dumps(error))
  assert vars(again) == vars(error)
  assert str(again) == "OSError: full"
  assert again.__cause__ is None


class _Unreadable(Exception):
  def __init__(self, first, second):
    super().__init__(first + second)


@pytest.mark.parametrize(
  ("cause", "sent"), [(KeyError(1), KeyError), (_Unreadable(1, 2), None)]
)
def test_a_task_error_has_its_cause_where_that_can_be_sent(cause, sent):
  again = pickle.loads(pickle.dumps(processes_lib.task_error(cause)))
  assert again.kind == type(cause).__name__
  assert (
    again.__cause__ is None if sent is None else type(again.__cause__) is sent
  )
