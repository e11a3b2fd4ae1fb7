"""Start a command elsewhere: as a SkyPilot task, or in Slurm's queue.

python main.py --task=launch --on=launch/tpu-spot.yaml -- --config=... --workdir=gs://...

The flags after -- are those of the command. They are checked here, so that a
misspelt one costs nothing. --dry_run shows the whole task.
"""

import sys

from absl import app
from absl import flags as absl_flags

from tasks import flags

_ON = absl_flags.DEFINE_string(
  "on",
  "",
  "File that says where: a SkyPilot task, as launch/tpu-spot.yaml, whose env"
  " FLAGS is filled in, or a script for sbatch, as launch/slurm.sbatch.",
)
_JOB_PER_TRIAL = absl_flags.DEFINE_bool(
  "job_per_trial",
  False,
  "Start a job, or a task of a Slurm array, for each trial of --task=sweep that"
  " is not done.",
)
_SKY_PYTHON = absl_flags.DEFINE_string(
  "sky_python",
  ".venv-launch/bin/python",
  "Python of the environment that SkyPilot is installed in.",
)
FLAGS = (_ON, flags.DRY_RUN, _JOB_PER_TRIAL, _SKY_PYTHON)


def run() -> int:
  """Run --task=launch."""
  if not _ON.value:
    raise app.UsageError(
      "--on is missing: --on=launch/NAME.yaml, or --on=launch/slurm.sbatch"
    )
  words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
  if not words:
    raise app.UsageError(
      f"give the command's flags after --: --task=launch --on={_ON.value} --"
      " --config=... --workdir=..."
    )
  from experiments.launching import launching

  return launching.run(
    _ON.value,
    words,
    job_per_trial=_JOB_PER_TRIAL.value,
    dry_run=flags.DRY_RUN.value,
    sky_python=_SKY_PYTHON.value,
  )
