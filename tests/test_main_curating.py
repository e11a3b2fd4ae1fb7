"""A run that begins to draw its rows in mid-run, killed and resumed."""

import json
import shutil

import numpy as np
import pytest

from tests import killed_runs, runs, tiny_curating, tiny_phases

_FIRST, _END = tiny_curating.STEPS[0], sum(tiny_curating.STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder):
  """Return a function that runs main.py and returns its output."""
  pairs, teacher = folder / "pairs", folder / "teacher"
  tiny_phases.write_pairs(pairs)
  tiny_curating.write_teacher(teacher)
  flag = f"--config.phases.drawn.changes.curating.teacher={teacher}"
  config = "tests/tiny_curating.py:phases"
  with killed_runs.runner(folder, config, pairs) as once:
    yield lambda workdir, **kwargs: once(workdir, flag, **kwargs)


@pytest.fixture(scope="module")
def unbroken(run, folder):
  run(folder / "unbroken")
  return folder / "unbroken"


@pytest.mark.slow
def test_rows_are_drawn_from_a_phase_on(unbroken):
  rows = [json.loads(line) for line in runs.train_lines(unbroken)]
  drawn = ["train/learnability" in row for row in rows]
  assert drawn == [False] * _FIRST + [True] * (_END - _FIRST)
  for row in rows[_FIRST:]:
    # The draw prefers rows that the teacher knows better.
    assert row["train/learnability"] > row["train/learnability_all"]
  assert np.isfinite([row["train/loss"] for row in rows]).all()
  assert "teacher" not in killed_runs.digests(unbroken)[_END]


# Its short neighbours: tests/training/curating.
@pytest.mark.long
def test_a_killed_run_has_the_same_bits_and_refuses_another_teacher(
  run, unbroken, folder
):
  workdir = folder / "killed"
  run(workdir, before=killed_runs.KILL_AT.format(step=_FIRST + 2), code=-9)
  teacher, kept = folder / "teacher", folder / "kept"
  teacher.rename(kept)
  tiny_curating.write_teacher(teacher, bias=-9.0)
  output = run(workdir, code=1)
  assert "must go on with the teacher that it began with" in output
  shutil.rmtree(teacher)
  kept.rename(teacher)
  run(workdir)
  assert runs.train_lines(workdir) == runs.train_lines(unbroken)
  there, wanted = killed_runs.digests(workdir), killed_runs.digests(unbroken)
  assert there[_END] == wanted[_END]
