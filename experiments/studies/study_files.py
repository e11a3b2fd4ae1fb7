"""Study files that have a claim."""

import pathlib

from experiments.studies import claims
from experiments.sweeps import study as study_lib
from runtime import failures

NAME = "study.py"


def load(path: pathlib.Path) -> claims.Study:
  """Return the STUDY of a study file.

  Raises:
    RunError: the file is missing, fails, or has no STUDY.
  """
  study = find(path)
  if study is None:
    raise failures.RunError(
      f"--study={path} must have a STUDY, a claims.Study; it has none"
    )
  return study


def find(path: pathlib.Path) -> claims.Study | None:
  """Return the STUDY of a study file, None where it has trials alone.

  Raises:
    RunError: the file is missing or fails, or its STUDY is no claims.Study.
  """
  study = getattr(study_lib.module(str(path)), "STUDY", None)
  if study is not None and not isinstance(study, claims.Study):
    raise failures.RunError(
      f"STUDY in {path} must be a claims.Study; got {type(study).__name__}"
    )
  return study
