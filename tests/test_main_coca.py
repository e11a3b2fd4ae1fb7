"""A CoCa run that is killed and resumed, and written for open_clip."""

import pytest

from inference import export
from inference import model as model_lib
from tests import killed_runs, runs, tiny_phases


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_run_has_the_same_bits(tmp_path):
  """Micro-batches and export: tests of objectives and of inference."""
  pairs = tmp_path / "pairs"
  tiny_phases.write_pairs(pairs)
  unbroken, workdir = tmp_path / "unbroken", tmp_path / "run"
  with killed_runs.runner(tmp_path, "tests/tiny_coca.py", pairs) as run:
    run(unbroken)
    run(workdir, before=killed_runs.KILL_AT.format(step=3), code=-9)
    assert runs.last_step(workdir) == 2
    run(workdir)
  assert runs.train_lines(workdir) == runs.train_lines(unbroken)
  there, wanted = killed_runs.digests(workdir), killed_runs.digests(unbroken)
  assert there[4] == wanted[4]
  _, coca = model_lib.load_coca(workdir)
  assert coca is not None
  assert export.run(workdir, "open_clip", str(tmp_path / "out")) == 0
