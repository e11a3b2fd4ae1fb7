"""Memory of the whole SigLIP B/16 step, as the TPU compiler states it.

docs/memory.md has all rows of benchmarks/plan.py; they compile in a minute or
two each. They come from the compiler: another run gives the same figures. The
row with replicated parameters is README's own command, which .ci/run checks.

python -m pytest tests/long/plan_figures.py
"""

import json
import subprocess
import sys

import pytest

from tests import runs

pytest.importorskip("libtpu")


@pytest.mark.slow
def test_peak_with_parameters_split():
  process = subprocess.run(
    [sys.executable, "-m", "benchmarks.plan", "--json", "--rows=v5e-fsdp"],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert process.returncode == 0, process.stderr
  got = json.loads(process.stdout)
  assert got["fits"]
  assert 0 < got["peak_gib"] <= 1.3
