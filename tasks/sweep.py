"""Run a list of trials, each a change of a config; resume a begun list.

Fields are given as --sweep.FIELD=A,B (commas within brackets separate nothing)
or --sweep.FIELD=0..2, which includes both ends; all combinations are run. A
--study is a Python file whose get_study() returns the trials. A trial has the
folder WORKDIR/ID; WORKDIR/results.md and results.json have a row for each.
"""

import re
import sys
from collections.abc import Sequence

from absl import app
from absl import flags as absl_flags

from runtime import failures
from tasks import flags

_STUDY = absl_flags.DEFINE_string(
  "study", "", "Python file with get_study(), which returns trials."
)
_FILTER = absl_flags.DEFINE_string(
  "filter",
  "",
  "Trials to run: FIELD=VALUE, state=failed, or beginnings of ids, separated by"
  " commas.",
)
_KEEP_GOING = absl_flags.DEFINE_bool(
  "keep_going", True, "Go on with other trials after one that failed."
)
_MAX_PARALLEL = absl_flags.DEFINE_integer(
  "max_parallel",
  1,
  "Trials at once; they share processors and GPUs.",
  lower_bound=1,
)
_RUNGS = absl_flags.DEFINE_list(
  "rungs",
  [],
  "Steps of successive halving: at each, the best trials go on and the others"
  " are stopped.",
)
_KEEP = absl_flags.DEFINE_float(
  "keep", 0.5, "Part of the trials that goes on from each of --rungs."
)
FLAGS = [
  *(flags.CONFIG, flags.WORKDIR, _STUDY, _FILTER, flags.DRY_RUN, _KEEP_GOING),
  *(_MAX_PARALLEL, flags.INDEX, flags.FIGURE, _RUNGS, _KEEP, flags.JSON),
]
_FIELD = re.compile(r"--?sweep\.([^=]+)(?==|$)")
_fields: dict[str, absl_flags.FlagHolder] = {}


def define_fields(argv: Sequence[str]) -> None:
  """Define a flag for each --sweep.FIELD of a command line."""
  for arg in argv:
    match = _FIELD.match(arg)
    if match and match[1] not in _fields:
      _fields[match[1]] = absl_flags.DEFINE_string(
        f"sweep.{match[1]}", "", "Values of a config field."
      )
      FLAGS.append(_fields[match[1]])


def run() -> int:
  """Run --task=sweep."""
  root = flags.workdir()
  fields = {field: holder.value for field, holder in _fields.items()}
  if not (_STUDY.value or fields):
    raise app.UsageError(
      "give trials: --sweep.FIELD=VALUES for fields of --config, or"
      " --study=FILE"
    )
  steps = _rungs()
  index = _index()
  if index is not None and (_FILTER.value or steps):
    raise app.UsageError("--index runs one trial: give no --filter or --rungs")
  if not steps and (flags.FIGURE.present or _KEEP.present):
    raise app.UsageError("--figure and --keep need --rungs beside them")
  from experiments.sweeps import halving, sweep

  return sweep.run(
    root,
    config_words=failures.config_words(sys.argv[1:]),
    study_path=_STUDY.value,
    fields=fields,
    parse=flags.parse_config,
    settings=sweep.Settings(
      terms=_FILTER.value,
      dry_run=flags.DRY_RUN.value,
      keep_going=_KEEP_GOING.value,
      max_parallel=_MAX_PARALLEL.value,
      index=index,
      rungs=halving.Halving(
        flags.FIGURE.value or "train/loss", steps, _KEEP.value
      )
      if steps
      else None,
      as_json=flags.JSON.value,
    ),
  )


def _index() -> int | None:
  """Return the number of --index; UsageError unless it is 0 or more."""
  value = flags.INDEX.value
  if value is None:
    return None
  if not value.isdecimal():
    raise app.UsageError(
      f"--index must be the number of a trial, 0 or more; got {value!r}"
    )
  return int(value)


def _rungs() -> tuple[int, ...]:
  try:
    return tuple(int(step) for step in _RUNGS.value)
  except ValueError as error:
    raise app.UsageError(
      f"--rungs must be steps, as --rungs=100,300; got {_RUNGS.value}"
    ) from error
