"""A bucket that a run is using refuses another run, and then does not answer.

python -m pytest tests/long/bucket_vanishes.py
"""

import pytest

from runtime.storage import bucket_path
from tests import bucket_emulators as emulators
from tests import runs
from tests import test_main_bucket as base

emulator, proxy = base.emulator, base.proxy

# A bucket that does not answer is given up soon.
_IMPATIENT = """
from runtime.storage import objects
objects.WAITS, objects.TRY_SECONDS = (0.5,), 3.0
"""


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_bucket_in_use_that_vanishes(emulator, proxy, runner, reference):
  del reference  # prepared the data and compiled the programs
  workdir = bucket_path.make(f"{emulator.root}/vanished")
  variables = emulators.variables(emulator.scheme, proxy.port)
  process = runner.start(
    *(workdir, *base.FLAGS, "--config.total_steps=100000"),
    config=base.CONFIG,
    env=variables,
    before=_IMPATIENT,
  )
  runs.wait_until(base.has_step(workdir, 2), process)
  second = base.run(runner, workdir)
  assert second.code == 1
  (line,) = second.stderr.strip().splitlines()
  assert line.startswith(f"error: --workdir={workdir} is in use by another run")
  assert f"process {process.pid}, since" in line
  proxy.close()
  result = runs.finish(process)
  assert result.code == 1
  assert "Traceback" not in result.stderr
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith("error: ")
  assert str(workdir) in last
  assert runs.last_step(workdir) >= 2  # whole in the bucket
