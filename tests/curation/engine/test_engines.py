"""Engines: the same results from all of them."""

import contextlib
import os

import pytest

from curation.engine import engines
from runtime import failures
from tests.curation import tiny
from tests.curation.engine import engine_tasks
from tests.runtime import pool_tasks


def test_workers_import_no_jax():
  with contextlib.closing(engines.make("processes", 1)) as processes:
    pool_task = dict(processes.run(engine_tasks.opens_a_shard, [0]))
  assert pool_task == {0: False}


def test_no_workers_are_this_process():
  made = engines.make("ray", 0)
  assert dict(made.run(pool_tasks.process_id, [0])) == {0: os.getpid()}


def test_flags_are_checked():
  with pytest.raises(ValueError, match="--engine must be one of inline, proc"):
    engines.make("dask", 2)
  with pytest.raises(ValueError, match="--num_workers must be at least 0"):
    engines.make("inline", -1)


# Ray forks to start its processes, and these call exec at once; the tests'
# JAX has threads, that of a curation is started after Ray.
@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
def test_ray_gives_what_this_process_gives(tmp_path, monkeypatch):
  monkeypatch.delenv("RAY_ADDRESS", raising=False)
  pool = tiny.make_pool(tmp_path / "pool", 2)
  expected = tiny.curate(tmp_path / "0", pool)
  made = engines.make("ray", 1)
  try:
    found = tiny.curate(tmp_path / "1", pool, made)
    results = dict(made.run(pool_tasks.maybe_die, range(2, 4)))
  finally:
    made.close()
  assert found["kept_sha256"] == expected["kept_sha256"]
  assert found["shares"] == expected["shares"]
  assert 0 < found["shares"]["places"]["counts"]["FR"][1] < 100
  assert results[0].was_killed
  assert (results[1].kind, results[1].disk_is_full) == ("OSError", True)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
  monkeypatch.setenv("RAY_ADDRESS", "nonsense://nowhere")
  with pytest.raises(failures.RunError, match="RAY_ADDRESS='nonsense://now"):
    engines.make("ray", 1)
