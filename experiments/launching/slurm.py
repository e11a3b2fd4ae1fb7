"""Hand-over to sbatch."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence

from experiments.launching import command as command_lib
from runtime import failures


def check() -> None:
  """Raise RunError where there is no sbatch."""
  if not shutil.which("sbatch"):
    raise failures.RunError(
      "sbatch is not on this machine: launch from a login node of the cluster"
    )


def run(
  script: str,
  command: command_lib.Command,
  trials: Sequence[command_lib.Trial] | None,
  *,
  dry_run: bool,
) -> int:
  """Submit a script with the command's flags; return sbatch's exit code.

  Args:
    script: script for sbatch.
    command: checked command.
    trials: trials of a sweep, each a task of an array; None for one job.
    dry_run: whether to show the call alone.
  """
  array = ()
  if trials is not None:
    array = ("--array=" + ",".join(str(trial.index) for trial in trials),)
  call = ["sbatch", *array, script, *command.words]
  print(shlex.join(call), flush=True)
  if dry_run:
    return 0
  return subprocess.run(call, check=False).returncode
