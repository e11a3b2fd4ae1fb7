"""The benchmark of search, on few rows: what it prints, and that both agree."""

import json
import subprocess
import sys

import pytest

from tests import runs


@pytest.mark.slow
def test_the_rows():
  done = subprocess.run(
    [
      *(sys.executable, "-m", "benchmarks.inference", "--dim=24", "--rounds=2"),
      *("--rows=3000", "--approximate_rows=1000"),
      f"--peer_python={sys.executable}",
    ],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  search, fast = map(json.loads, done.stdout.splitlines())
  assert (search["num_rows"], search["dim"]) == (3000, 24)
  assert search["num_different"] == 0
  # Threads, tables' footers and the scores of a block.
  assert 0 < search["more_mib"] < 100
  assert search["ratio"] > 0
  assert (fast["num_rows"], fast["method"]) == (1000, "ivf")
  low, high = fast["interval"]
  assert low <= fast["recall@10"] <= high + 1e-9
  assert fast["recall@10"] > 0.9
