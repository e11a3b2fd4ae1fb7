"""Scaling law of the study: fitted over compute, tested on a larger run.

  python -m experiments.openclip.law

Read from results.json beside this file; written into the block of README.md
between <!-- law --> and <!-- /law -->, and drawn as law.svg.

The law is error = a * compute^-b, with error 1 - R@10, fitted by least squares
of the logarithms on the arms that no arm of less or equal compute beats (the
Pareto frontier). It is fitted once for each seed, so that the spread over seeds
is that of the whole procedure, and its prediction for the arm that it has not
seen is compared with that arm's run of the same seed.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags

from experiments.openclip import config, law_chart
from experiments.openclip import study as study_lib
from experiments.parts import program
from experiments.studies import claims, marked_text, outcomes, report
from runtime import failures
from runtime.storage import whole_files
from training.comparison import figures as figures_lib
from training.comparison import paired_seeds

MARK = "law"
_CHART = "law.svg"
_FOLDER = pathlib.Path(__file__).parent
_FLAGS = flags.FlagValues()


@dataclasses.dataclass(frozen=True)
class Law:
  """Power law of one figure for one seed.

  Attributes:
    factor: a, the error at a compute of 1 GFLOP.
    exponent: b.
    predicted: error of the held-out arm by the law.
    measured: its error.
    arms: names of the arms on the frontier.
  """

  factor: float
  exponent: float
  predicted: float
  measured: float
  arms: tuple[str, ...]

  def error(self, compute_N: np.ndarray) -> np.ndarray:
    """Return the errors that the law expects, from GFLOPs."""
    return self.factor * compute_N**-self.exponent


def main(argv: Sequence[str]) -> None:
  """Write the block of README.md, and the chart."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  try:
    outcome = outcomes.read(study_lib.STUDY, _FOLDER / outcomes.JSON)
    found = by_figure(study_lib.STUDY, outcome)
    text = block(found)
    readme = marked_text.replaced(_FOLDER / report.README, MARK, text)
    drawn = law_chart.draw(study_lib.STUDY, outcome, found)
    whole_files.write(_FOLDER / _CHART, drawn.encode())
    marked_text.write(_FOLDER / report.README, readme)
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error
  print(text)


def fit(compute_N: np.ndarray, error_N: np.ndarray) -> tuple[float, float]:
  """Return factor a and exponent b of error = a * compute^-b.

  >>> fit(np.array([1.0, 4.0, 16.0]), np.array([0.8, 0.4, 0.2]))
  (0.79..., 0.5...)
  """
  slope, intercept = np.polyfit(np.log(compute_N), np.log(error_N), 1)
  return math.exp(intercept), -float(slope)


def frontier(compute_N: np.ndarray, error_N: np.ndarray) -> list[int]:
  """Return the arms that no arm of less or equal compute beats, by compute.

  >>> frontier(np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.6, 0.3]))
  [0, 2]
  """
  order = np.lexsort((error_N, compute_N))
  kept: list[int] = []
  for arm in order.tolist():
    if not kept or error_N[arm] < error_N[kept[-1]]:
      kept.append(arm)
  return kept


def laws(
  study: claims.Study, outcome: outcomes.Outcome, figure: claims.Figure
) -> Mapping[str, Law]:
  """Return seed -> law of a figure.

  Raises:
    RunError: fewer than three arms are on the frontier, or an error is 0.
  """
  largest = config.compute(*config.HELD_OUT)
  seen = [arm for arm in study.arms if arm.x != largest]
  (held_out,) = (arm for arm in study.arms if arm.x == largest)
  errors = {
    arm.name: outcomes.values(outcome, arm, figure) for arm in study.arms
  }
  compute_N = np.array([arm.x for arm in seen], float)
  made = {}
  for seed, value in errors[held_out.name].items():
    error_N = np.array([1 - errors[arm.name][seed] for arm in seen])
    kept = frontier(compute_N, error_N)
    if len(kept) < 3 or not error_N[kept].all():
      raise failures.RunError(
        f"a law of {figure.label} needs three arms on the frontier, with an"
        f" error above 0; got {[seen[i].name for i in kept]}, seed {seed}"
      )
    factor, exponent = fit(compute_N[kept], error_N[kept])
    made[seed] = Law(
      factor,
      exponent,
      predicted=factor * largest**-exponent,
      measured=1 - value,
      arms=tuple(seen[i].name for i in kept),
    )
  return made


def by_figure(
  study: claims.Study, outcome: outcomes.Outcome
) -> Mapping[str, Mapping[str, Law]]:
  """Return label of a figure -> seed -> law; errors are those of `laws`."""
  return {
    figure.label: laws(study, outcome, figure) for figure in study.figures
  }


def block(found: Mapping[str, Mapping[str, Law]]) -> str:
  """Return the table of laws, those of `by_figure`, as Markdown."""
  rows = []
  for label, by_seed in found.items():
    difference = paired_seeds.compare(
      {seed: law.measured for seed, law in by_seed.items()},
      {seed: law.predicted for seed, law in by_seed.items()},
    )
    assert difference is not None, label
    low, high = difference["interval"]
    rows.append(
      (
        label,
        *(
          figures_lib.shown(
            figures_lib.spread([getattr(law, name) for law in by_seed.values()])
          )
          for name in ("exponent", "predicted", "measured")
        ),
        f"{difference['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
        ", ".join(str(len(law.arms)) for law in by_seed.values()),
      )
    )
  table = figures_lib.markdown(
    [
      "figure",
      "exponent b",
      "error predicted",
      "error measured",
      "predicted - measured (95 %)",
      "arms on the frontier, by seed",
    ],
    rows,
  )
  width, number = config.HELD_OUT
  return (
    f"![Error over compute with the law]({_CHART})\n\n{table}\n\nThe law"
    f" has not seen the arm of width {width} with {number:,} pairs. Means ±"
    " sample standard deviations over seeds; the interval is that of Student's"
    " paired t."
  )


if __name__ == "__main__":
  program.run(main, _FLAGS)
