"""Launching from its flags to the hand-over."""

import pathlib
from collections.abc import Sequence

from experiments.launching import command as command_lib
from experiments.launching import skypilot, slurm
from runtime import failures


def run(
  on: str,
  words: Sequence[str],
  *,
  job_per_trial: bool,
  dry_run: bool,
  sky_python: str,
) -> int:
  """Start a command where a file says; return the exit code.

  Args:
    on: a SkyPilot task or a script for sbatch.
    words: flags of main.py.
    job_per_trial: whether each trial of a sweep is a job of its own.
    dry_run: whether to show what would be run, and run nothing.
    sky_python: Python with SkyPilot.

  Raises:
    RunError: the file or the command cannot be used; nothing was started.
  """
  try:
    text = pathlib.Path(on).read_text(encoding="utf-8")
  except OSError as error:
    raise failures.RunError(f"--on={on}: {error.strerror}") from error
  is_sky = on.endswith((".yaml", ".yml"))
  if not is_sky and "\n#SBATCH " not in text:
    raise failures.RunError(
      "--on must be a SkyPilot task (NAME.yaml) or a script with #SBATCH lines;"
      f" got {on}"
    )
  task = skypilot.read(on, text) if is_sky else {}
  if not (is_sky or dry_run):
    slurm.check()
  command = command_lib.check(words)
  if is_sky:
    skypilot.check_folders(on, task, command)
  trials = command_lib.trials_to_run(command) if job_per_trial else None
  if trials == []:
    print("All trials are done: nothing is started.")
    return 0
  if is_sky:
    filled = skypilot.fill(task, command, trials)
    return skypilot.run(filled, python=sky_python, dry_run=dry_run)
  return slurm.run(on, command, trials, dry_run=dry_run)
