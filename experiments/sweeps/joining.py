"""Processes of main.py that a trial consists of: one, or those of a cluster."""

import os
import pathlib
import sys

from experiments.sweeps import records
from experiments.sweeps import trials as trials_lib
from runtime import compilation_cache

# Beginning of the command of each process.
MAIN = (sys.executable, str(pathlib.Path(__file__).parents[2] / "main.py"))


def follow(
  root: pathlib.Path, trial: trials_lib.Trial, base: trials_lib.Base
) -> int:
  """Become a further process of a trial that process 0 of a sweep runs.

  Returns only where the trial is done.
  """
  record = records.read(root, trial.id)
  if not records.is_done(record, base.commands(records.ROOT, trial)):
    (words,) = base.commands(root, trial).values()
    sys.stdout.flush()
    sys.stderr.flush()
    # Signals, and the exit code, are then the trial's own.
    environment = variables(root, trial) | os.environ
    os.execve(MAIN[0], [*MAIN, *words], environment)
  return 0


def variables(root: pathlib.Path, trial: trials_lib.Trial) -> dict[str, str]:
  """Return environment variables of a trial's processes."""
  return {
    # Chains have folders below the trial's: the cache is of the sweep.
    "JAX_COMPILATION_CACHE_DIR": str(compilation_cache.folder(root / trial.id)),
    # Small programs take most of the start of a small trial.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
