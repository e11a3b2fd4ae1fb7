"""Environment of SkyPilot and of Kubernetes' schemas, apart from the project's.

python3 -m venv .venv-launch
.venv-launch/bin/pip install -r requirements-launch.txt kubernetes-validate
"""

import os
import pathlib
import subprocess

from tests import programs, runs

PYTHON = runs.ROOT / ".venv-launch" / "bin" / "python"
# SkyPilot looks names of GPUs up in a list that it downloads.
_GPUS = 'AcceleratorName,Clouds\nH100,"[AWS, GCP, Kubernetes]"\n'


def need() -> None:
  """Skip the test where the environment is missing; fail it in CI."""
  programs.need(
    [] if PYTHON.exists() else [".venv-launch"],
    "it as tests/launch_environment.py says",
  )


def variables(home: pathlib.Path) -> dict[str, str]:
  """Return variables with which SkyPilot has a new home, and no network."""
  path = home / ".sky" / "catalogs" / "v8" / "common" / "accelerators.csv"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(_GPUS)
  return {
    **os.environ,
    "HOME": str(home),
    "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
  }


def call(code: str, *args: str, home: pathlib.Path) -> str:
  """Return the output of a program of that environment."""
  done = subprocess.run(
    [PYTHON, "-c", code, *args],
    env=variables(home),
    cwd=home,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout
