"""Report of a study: its tables and chart, from a sweep or from results.json.

  python -m experiments.studies.report --study=experiments/NAME/study.py \\
    --sweep=runs/NAME

Written into the folder of the study file: results.json (outcomes.py), the
charts results.svg and sparkline.svg, and the block of README.md between
<!-- results --> and <!-- /results -->. Without --sweep, all but results.json
are made from results.json alone. A sweep whose trials are not all done is
refused, and nothing is written.
"""

import pathlib
from collections.abc import Sequence

from absl import app, flags

from experiments.parts import program
from experiments.studies import (
  drawing,
  marked_text,
  outcomes,
  study_files,
  tables,
)
from runtime import failures
from runtime.storage import whole_files

_FLAGS = flags.FlagValues()
_STUDY = flags.DEFINE_string(
  "study", "", "Study file with a STUDY (claims.py).", flag_values=_FLAGS
)
_SWEEP = flags.DEFINE_string(
  "sweep",
  "",
  "Folder of --task=sweep with the study's trials; without it, results.json"
  " beside the study file is read.",
  flag_values=_FLAGS,
)

README = "README.md"
MARK = "results"


def main(argv: Sequence[str]) -> None:
  """Write the report."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  if not _STUDY.value:
    raise app.UsageError(
      "--study is missing: --study=experiments/NAME/study.py"
    )
  try:
    print(write(pathlib.Path(_STUDY.value), _SWEEP.value))
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error


def write(study_path: pathlib.Path, sweep: str = "") -> str:
  """Write a study's report; return the block of its README.

  Args:
    study_path: study file with a STUDY.
    sweep: folder of its sweep; "" to read results.json.

  Raises:
    RunError: the study, its trials or README cannot be used; nothing is
      written.
  """
  study = study_files.load(study_path)
  folder = study_path.parent
  if sweep:
    outcome = outcomes.from_sweep(study, pathlib.Path(sweep))
  else:
    outcome = outcomes.read(study, folder / outcomes.JSON)
  block = tables.block(study, outcome, drawing.CHART)
  text = marked_text.replaced(folder / README, MARK, block)
  charts = {
    drawing.CHART: drawing.chart(study, outcome),
    drawing.SPARKLINE: drawing.sparkline(study, outcome),
  }
  if sweep:
    outcomes.write(folder / outcomes.JSON, outcome)
  for name, svg in charts.items():
    whole_files.write(folder / name, svg.encode())
  marked_text.write(folder / README, text)
  return block


if __name__ == "__main__":
  program.run(main, _FLAGS)
