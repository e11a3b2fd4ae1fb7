"""The same results from all engines, and what becomes of failures."""

import os
import pickle

import pytest

from curation.engine import engines
from runtime import failures
from tests.curation import tiny
from tests.curation.engine import engine_tasks


@pytest.fixture(scope="module")
def processes():
  made = engines.make("processes", 2)
  yield made
  made.close()


def test_a_killed_worker_fails_its_own_task_only(processes):
  results = dict(processes.run(engine_tasks.maybe_die, range(6)))
  killed, failed = results.pop(2), results.pop(3)
  assert results == {0: 0, 1: 1, 4: 4, 5: 5}
  assert killed.was_killed
  assert "was killed by SIGKILL" in str(killed)
  assert (failed.kind, failed.disk_is_full) == ("OSError", True)
  assert "maybe_die" in failed.trace


def test_workers_import_no_jax(processes):
  pool_task = dict(processes.run(engine_tasks.opens_a_shard, [0]))
  assert pool_task == {0: False}


def test_what_is_under_way_is_given_up_with_the_run(processes):
  run = processes.run(engine_tasks.sleep, [0, 60])
  assert next(run) == (0, 0)
  run.close()  # at once, not in a minute
  assert dict(processes.run(engine_tasks.square, [3, 4])) == {0: 9, 1: 16}


def test_what_cannot_be_sent_is_an_error_of_ours(processes):
  with pytest.raises((pickle.PicklingError, AttributeError)):
    list(processes.run(lambda task: task, [1]))


def test_workers_end_with_the_engine(processes):
  (number,) = dict(processes.run(engine_tasks.process_id, [0])).values()
  processes.close()
  with pytest.raises(ProcessLookupError):
    os.kill(number, 0)


def test_no_workers_are_this_process():
  made = engines.make("ray", 0)
  assert dict(made.run(engine_tasks.process_id, [0])) == {0: os.getpid()}


def test_flags_are_checked():
  with pytest.raises(ValueError, match="--engine must be one of inline, proc"):
    engines.make("dask", 2)
  with pytest.raises(ValueError, match="--num_workers must be at least 0"):
    engines.make("inline", -1)


def test_a_task_error_can_be_sent():
  error = engines.TaskError("OSError", "full", "trace", disk_is_full=True)
  again = pickle.loads(pickle.dumps(error))
  assert vars(again) == vars(error)
  assert str(again) == "OSError: full"


# Ray forks to start its processes, and these call exec at once; the tests'
# JAX has threads, that of a curation is started after Ray.
@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
def test_ray_gives_what_this_process_gives(tmp_path, monkeypatch):
  monkeypatch.delenv("RAY_ADDRESS", raising=False)
  pool = tiny.make_pool(tmp_path / "pool", 2)
  expected = tiny.curate(tmp_path / "0", pool)
  made = engines.make("ray", 1)
  try:
    found = tiny.curate(tmp_path / "1", pool, made)
    results = dict(made.run(engine_tasks.maybe_die, range(2, 4)))
  finally:
    made.close()
  assert found["kept_sha256"] == expected["kept_sha256"]
  assert results[0].was_killed
  assert (results[1].kind, results[1].disk_is_full) == ("OSError", True)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
  monkeypatch.setenv("RAY_ADDRESS", "nonsense://nowhere")
  with pytest.raises(failures.RunError, match="RAY_ADDRESS='nonsense://now"):
    engines.make("ray", 1)
