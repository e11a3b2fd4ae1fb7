"""Studies as arrays of a real Slurm: the tables that are committed.

python -m pytest tests/long/slurm_studies.py

An array takes as long as its study, 20 to 40 minutes on two processors. A
trial is bound to one of the node's two processors, as in the sweeps of
--max_parallel=2 on two processors whose results are committed. A processor of
another kind rounds otherwise, which the digits of a table seldom show: arms
whose cells differ are run again by such a sweep on this machine, and figures of
both must be equal to the last bit. Data are those of the README of
experiments/NAME, in cache/.
"""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from experiments.studies import outcomes, study_files, tables
from tests import programs, runs, slurm

_PATIENCE = 3 * 60 * 60
# Study file of some arms of a study.
_SOME = """
import dataclasses

from experiments.{name} import study

STUDY = dataclasses.replace(
  study.STUDY,
  arms=tuple(arm for arm in study.STUDY.arms if arm.name in {arms!r}),
  comparisons=(),
)


def get_study():
  return STUDY.trials()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
  """Return a cluster of this machine, whose tasks have a processor each."""
  programs.need(slurm.missing(), "slurm-wlm and munge, as root")
  made = slurm.Slurm(tmp_path_factory.mktemp("slurm"), is_bound=True)
  try:
    made.start()
    yield made
  finally:
    made.stop()


def _launch(cluster, name, root):
  return subprocess.run(
    [
      *(sys.executable, "main.py", "--task=launch", "--job_per_trial"),
      *("--on=launch/slurm.sbatch", "--", "--task=sweep"),
      f"--config=experiments/{name}/config.py",
      f"--study=experiments/{name}/study.py",
      f"--workdir={root}",
    ],
    env={
      **os.environ,
      **cluster.env,
      "PYTHON": sys.executable,
      "SBATCH_OUTPUT": str(root.with_name(f"{name}-%a.log")),
    },
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize("name", ["openclip", "flip"])
def test_an_array_has_the_committed_table(cluster, tmp_path, name):
  folder = pathlib.Path(runs.ROOT, "experiments", name)
  study = study_files.load(folder / "study.py")
  committed = outcomes.read(study, folder / outcomes.JSON)
  root = tmp_path / name
  done = _launch(cluster, name, root)
  assert done.returncode == 0, done.stderr
  job = done.stdout.split()[-1]
  deadline = time.monotonic() + _PATIENCE
  while states := cluster.call("squeue", "-h", "-r", "-j", job, "-o", "%T"):
    assert time.monotonic() < deadline, states
    time.sleep(5)
  found = outcomes.from_sweep(study, root)
  pairs = zip(_cells(study, found), _cells(study, committed), strict=True)
  others = [new[0] for new, old in pairs if new != old]
  print(f"{name}: arms whose cells differ: {others}")
  if others:
    assert _figures(found, others) == _figures(
      _sweep_of(name, others, tmp_path / "without"), others
    )


def _sweep_of(name, arms, root):
  """Return the outcome of some arms of a study, without Slurm."""
  root.mkdir()
  path = root / "study.py"
  path.write_text(_SOME.format(name=name, arms=arms))
  subprocess.run(
    [
      *(sys.executable, "main.py", "--task=sweep", f"--study={path}"),
      f"--config=experiments/{name}/config.py",
      *(f"--workdir={root / 'sweep'}", "--max_parallel=2"),
    ],
    cwd=runs.ROOT,
    check=True,
  )
  return outcomes.from_sweep(study_files.load(path), root / "sweep")


def _cells(study, outcome):
  """Return the cells of a study's table, but for its last column, minutes."""
  return [row[:-1] for row in tables.arm_rows(study, outcome)]


def _figures(outcome, arms):
  return {
    (trial["arm"], trial["seed"]): trial["figures"]
    for trial in outcome["trials"]
    if trial["arm"] in arms
  }
