"""Distance of the study's arms from whole pictures of equal FLOPs.

  python -m experiments.flip.equal_cost

Read from results.json beside this file; written into the block of README.md
between <!-- cost --> and <!-- /cost -->.

Runs on whole pictures with 32,768 and 65,536 pairs are joined by a straight
line over the logarithm of FLOPs, for each seed. The distance of an arm is its
figure less the one that the line of its seed has at its FLOPs; an arm that
costs less or more than both has none.
"""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags

from experiments.flip import config
from experiments.flip import study as study_lib
from experiments.parts import program
from experiments.studies import claims, marked_text, outcomes, report, tables
from runtime import failures
from training.comparison import figures as figures_lib

MARK = "cost"
_FOLDER = pathlib.Path(__file__).parent
_FLAGS = flags.FlagValues()
# Arms on whole pictures, which the line goes through.
_WHOLE = ("whole, half the pairs", "whole")


def main(argv: Sequence[str]) -> None:
  """Write the block of README.md."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  try:
    text = block(outcomes.read(study_lib.STUDY, _FOLDER / outcomes.JSON))
    readme = _FOLDER / report.README
    marked_text.write(readme, marked_text.replaced(readme, MARK, text))
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error
  print(text)


def distances(
  outcome: outcomes.Outcome, figure: claims.Figure
) -> Mapping[str, list[float]]:
  """Return arm -> distance of each seed, of arms within the line's FLOPs.

  Args:
    outcome: trials of the study.
    figure: one of the study's.
  """
  study = study_lib.STUDY
  line = [study.arm(name) for name in _WHOLE]
  costs = [_cost(arm) for arm in line]
  values = [outcomes.values(outcome, arm, figure) for arm in line]
  return {
    arm.name: [
      value
      - float(
        np.interp(
          np.log(_cost(arm)), np.log(costs), [some[seed] for some in values]
        )
      )
      for seed, value in outcomes.values(outcome, arm, figure).items()
    ]
    for arm in study.arms
    if arm.name not in _WHOLE and costs[0] <= _cost(arm) <= costs[-1]
  }


def block(outcome: outcomes.Outcome) -> str:
  """Return the table of distances as Markdown."""
  figures = study_lib.STUDY.figures
  found = [distances(outcome, figure) for figure in figures]
  table = figures_lib.markdown(
    ["arm", "GFLOP of a run", *(figure.label for figure in figures)],
    [
      (
        name,
        f"{_cost(study_lib.STUDY.arm(name)):,.0f}",
        *(
          f"{tables.signed(figure, statistics.fmean(one[name]))} ±"
          f" {tables.shown(figure, statistics.stdev(one[name]), 1.0)}"
          for figure, one in zip(figures, found, strict=True)
        ),
      )
      for name in found[0]
    ],
  )
  return (
    f"{table}\n\nR@10 less that of whole pictures at equal GFLOPs, between runs"
    f" of {config.NUM_EXAMPLES // 2:,} and {config.NUM_EXAMPLES:,} pairs. Means"
    " ± sample standard deviations over seeds. Nothing here is tested: the"
    " table was made after the results were seen."
  )


def _cost(arm: claims.Arm) -> float:
  assert arm.x is not None, arm  # each arm of the study has its FLOPs
  return arm.x


if __name__ == "__main__":
  program.run(main, _FLAGS)
