"""main.py --task=launch, up to SkyPilot's parser and sbatch's command line."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from tests import launch_environment, runs

TINY = ("--config=tests/tiny.py", "--workdir=gs://bucket/runs/tiny")


def launch(*args, on="launch/tpu-spot.yaml", env=None):
  return subprocess.run(
    [sys.executable, "main.py", "--task=launch", f"--on={on}", *args],
    cwd=runs.ROOT,
    env={**(env or os.environ), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.slow
def test_dry_run_is_checked_by_skypilot(tmp_path):
  launch_environment.need()
  done = launch(
    *("--dry_run", "--", *TINY, "--config.seed=3"),
    env=launch_environment.variables(tmp_path),
  )
  assert done.returncode == 0, done.stderr
  assert "not checked" not in done.stderr
  task = yaml.safe_load(done.stdout)
  assert task["name"] == "tpu-spot-tiny"
  assert task["envs"]["FLAGS"] == " ".join([*TINY, "--config.seed=3"])
  assert len(task["envs"]["DIPTYCH_COMMIT"].partition("+")[0]) == 40
  assert not (tmp_path / ".sky" / "api_server").exists()


@pytest.mark.slow
def test_skypilot_refuses(tmp_path):
  launch_environment.need()
  path = tmp_path / "a.yaml"
  path.write_text("envs: {FLAGS: null}\nresources: {infra: nowhere}\n")
  done = launch("--dry_run", "--", *TINY, on=path)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith("error: SkyPilot: ")
  assert "nowhere" in done.stderr


@pytest.mark.slow
def test_trials_of_a_sweep(tmp_path):
  done = launch(
    *("--dry_run", "--job_per_trial", "--", "--task=sweep", TINY[0]),
    *(f"--workdir={tmp_path}", "--sweep.seed=0..2"),
    on="launch/slurm.sbatch",
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == (
    "sbatch --array=0,1,2 launch/slurm.sbatch --task=sweep"
    f" {TINY[0]} --workdir={tmp_path} --sweep.seed=0..2\n"
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("args", "message"),
  [
    (
      ["--", "--config=tests/tiny.py", "--config.sead=1", TINY[1]],
      "the command after -- cannot be run: there is no config field 'sead'",
    ),
    (
      ["--", *TINY, "--query=cat"],
      "the command after -- cannot be run: --query is not used by --task=train",
    ),
    (["--", "--config=tests/tiny.py"], "has no --workdir"),
    (["--", "--task=launch"], "must not be --task=launch"),
  ],
)
def test_command_is_refused(args, message):
  done = launch("--dry_run", *args)
  assert done.returncode == 1
  assert message in done.stderr
  assert not done.stdout


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ([], "give the command's flags after --"),
    ([*TINY], "put -- before the command to launch"),
    (["word", "--", *TINY], "'word' is not a flag"),
    (["--dry_run=false", "--"], "give the command's flags after --"),
  ],
)
def test_line_is_refused(args, message):
  done = launch(*args)
  assert done.returncode == 1
  assert message in done.stderr


@pytest.mark.parametrize(
  ("on", "message"),
  [
    ("launch/none.yaml", "--on=launch/none.yaml: No such file"),
    ("main.py", "--on must be a SkyPilot task"),
    ("launch/kubernetes-job.yaml", "is for Kubernetes itself"),
  ],
)
def test_file_is_refused(on, message):
  done = launch("--", *TINY, on=on)
  assert done.returncode == 1
  assert message in done.stderr


def test_without_sbatch(tmp_path):
  (tmp_path / "git").symlink_to("/usr/bin/git")
  done = launch(
    *("--", *TINY),
    on="launch/slurm.sbatch",
    env={**os.environ, "PATH": str(tmp_path)},
  )
  assert done.returncode == 1
  assert "sbatch is not on this machine" in done.stderr


def test_help_is_that_of_launch():
  done = launch("--help", "--", "--task=sweep", "--help")
  assert done.returncode == 0
  assert done.stdout.startswith("--task=launch: ")
  assert pathlib.Path("launch/slurm.sbatch").name in done.stdout
