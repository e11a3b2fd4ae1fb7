"""failures.jsonl: what is written, and what is read again."""

import json

from curation import pool
from curation.engine import failures_file, stages
from runtime import processes
from tests.curation import tiny

(STAGE, _) = stages.make(tiny.STEPS, "")
SHARD = pool.Shard("a", "a.tar", 0, 10, "1")
ERROR = processes.TaskError("OSError", "gone", "Traceback: gone")


def test_attempts_are_counted_over_runs(tmp_path):
  first = failures_file.Ledger(tmp_path)
  first.failed(STAGE, ("wide",), SHARD, ERROR)
  first.failed(STAGE, ("above_mean",), None, ERROR)
  again = failures_file.Ledger(tmp_path)
  again.failed(STAGE, ("wide",), SHARD, ERROR)
  again.succeeded(STAGE, ("wide",), SHARD)
  again.succeeded(STAGE, ("wide",), SHARD)  # no second line
  lines = [json.loads(x) for x in again.path.read_text().splitlines()]
  assert [line["attempt"] for line in lines] == [1, 1, 2, 3]
  assert lines[0]["rows"] == [0, 10]
  shard, reduction = failures_file.Ledger(tmp_path).failures([STAGE])
  assert shard == {
    "stage": STAGE.folder,
    "shard": "a",
    "path": "a.tar",
    "num_failures": 2,
    "succeeded": True,
    "error": "OSError: gone",
  }
  assert not reduction["succeeded"]
  assert failures_file.Ledger(tmp_path).failures([]) == []


def test_a_line_that_a_kill_cut_is_dropped(tmp_path):
  failures_file.Ledger(tmp_path).failed(STAGE, ("wide",), SHARD, ERROR)
  path = tmp_path / failures_file.NAME
  whole = path.read_bytes()
  path.write_bytes(whole + whole[:40])
  again = failures_file.Ledger(tmp_path)
  again.succeeded(STAGE, ("wide",), SHARD)
  lines = [json.loads(x) for x in path.read_text().splitlines()]
  assert [line["attempt"] for line in lines] == [1, 2]
