"""Memory of the whole SigLIP B/16 step, as the TPU compiler states it.

docs/memory.md has all rows of benchmarks/plan.py; these compile in a minute or
two each. They come from the compiler: another run gives the same figures.
"""

import json
import subprocess
import sys

import pytest

from tests import runs

pytest.importorskip("libtpu")


@pytest.mark.parametrize(
  ("row", "limit_gib"), [("v5e-replicated", 3.2), ("v5e-fsdp", 1.3)]
)
def test_peak(row, limit_gib):
  process = subprocess.run(
    [sys.executable, "-m", "benchmarks.plan", "--json", f"--rows={row}"],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert process.returncode == 0, process.stderr
  got = json.loads(process.stdout)
  assert got["fits"]
  assert 0 < got["peak_gib"] <= limit_gib
