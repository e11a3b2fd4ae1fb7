"""Effective robustness of the study: distances from the classifiers' line.

  python -m experiments.clip.robustness

Read from results.json beside this file; written into the block of README.md
between <!-- robustness --> and <!-- /robustness -->, and robustness.svg.

Effective robustness (arXiv 2007.00644) is the accuracy under another
distribution less the one that a line of supervised models expects of the same
accuracy in distribution. Here the line is that of the classifiers that are
trained from scratch on labels, style over test on the logit scale, by least
squares. It is fitted once for each seed, so that the spread over seeds is that
of the whole procedure.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags
from scipy import special

from experiments.clip import robustness_chart
from experiments.clip import study as study_lib
from experiments.parts import program
from experiments.studies import (
  marked_text,
  outcomes,
  report,
  significance,
  tables,
)
from runtime import failures
from runtime.storage import whole_files
from training.comparison import figures as figures_lib
from training.comparison import paired_seeds

MARK = "robustness"
CHART = "robustness.svg"
# Models whose distance from the line is tested, chosen before the runs.
KINDS = ("ensemble", "one prompt", *(study_lib.probe(x) for x in (1, 4, 16)))
_FOLDER = pathlib.Path(__file__).parent
_FLAGS = flags.FlagValues()


@dataclasses.dataclass(frozen=True)
class Line:
  """Line of one seed: logit(style) = intercept + slope * logit(test).

  Attributes:
    intercept: logit of the accuracy on style where that on test is a half.
    slope: its growth with the logit on test.
    residual: standard deviation of the classifiers from it, in logits, with
      two degrees of freedom less than classifiers.
    low: lowest accuracy on test of its classifiers.
    high: highest one.
  """

  intercept: float
  slope: float
  residual: float
  low: float
  high: float

  def expected(self, test_N: np.ndarray) -> np.ndarray:
    """Return the accuracies on style that the line expects."""
    return special.expit(self.intercept + self.slope * special.logit(test_N))


@dataclasses.dataclass(frozen=True)
class Distance:
  """Distance of one kind of models from the lines.

  Attributes:
    kind: one of KINDS.
    test: seed -> mean accuracy on test over the arms.
    style: seed -> mean accuracy on style.
    expected: seed -> mean of what the seed's line expects.
    num_beyond: points whose accuracy on test no classifier of their seed has:
      below the lowest or above the highest.
    num: points in all.
  """

  kind: str
  test: Mapping[str, float]
  style: Mapping[str, float]
  expected: Mapping[str, float]
  num_beyond: int
  num: int


def main(argv: Sequence[str]) -> None:
  """Write the block of README.md and the chart."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  try:
    print(write(_FOLDER))
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error


def write(folder: pathlib.Path) -> str:
  """Write the block and the chart of a folder's results.json; return the block.

  Raises:
    RunError: results.json or README.md cannot be used, or no line can be
      fitted; nothing is written.
  """
  outcome = outcomes.read(study_lib.STUDY, folder / outcomes.JSON)
  text = block(outcome)
  readme = marked_text.replaced(folder / report.README, MARK, text)
  chart = robustness_chart.draw(outcome, lines(outcome))
  whole_files.write(folder / CHART, chart.encode())
  marked_text.write(folder / report.README, readme)
  return text


def lines(outcome: outcomes.Outcome) -> Mapping[str, Line]:
  """Return seed -> line of the classifiers of all arms.

  Raises:
    RunError: an accuracy is 0 or 1, or fewer than three differ on test.
  """
  return {
    seed: _fit(seed, np.array(pairs_N2))
    for seed, pairs_N2 in robustness_chart.points(
      outcome, study_lib.CLASSIFIER, study_lib.STUDY.arms
    ).items()
  }


def distances(outcome: outcomes.Outcome) -> list[Distance]:
  """Return the distance of each of KINDS, over the arms with sentences.

  Raises:
    RunError: as `lines`, and where a model's accuracy is 0 or 1.
  """
  by_seed = lines(outcome)
  made = []
  for kind in KINDS:
    points = {
      seed: np.array(pairs_N2).T
      for seed, pairs_N2 in robustness_chart.points(
        outcome, kind, study_lib.WITH_SENTENCES
      ).items()
    }
    for seed, values_2N in points.items():
      _check_within(kind, seed, values_2N)
    made.append(
      Distance(
        kind,
        {seed: float(test_N.mean()) for seed, (test_N, _) in points.items()},
        {seed: float(style_N.mean()) for seed, (_, style_N) in points.items()},
        {
          seed: float(by_seed[seed].expected(test_N).mean())
          for seed, (test_N, _) in points.items()
        },
        num_beyond=sum(
          int(((test_N < line.low) | (test_N > line.high)).sum())
          for seed, (test_N, _) in points.items()
          for line in (by_seed[seed],)
        ),
        num=sum(len(test_N) for test_N, _ in points.values()),
      )
    )
  return made


def block(outcome: outcomes.Outcome) -> str:
  """Return the chart, the lines and the distances as Markdown."""
  by_seed = [*lines(outcome).values()]
  slope, intercept, residual = (
    figures_lib.shown(
      figures_lib.spread([getattr(line, name) for line in by_seed])
    )
    for name in ("slope", "intercept", "residual")
  )
  low = min(line.low for line in by_seed)
  high = max(line.high for line in by_seed)
  number = len(study_lib.STUDY.arms)
  return "\n\n".join(
    (
      "![accuracy on style over accuracy on test, and accuracy over shots]"
      f"({CHART})",
      f"Line of {number} classifiers for each seed: logit(style) = a + b"
      f" logit(test) with b = {slope} and a = {intercept}; classifiers differ"
      f" from it by {residual} logits. They have {low:.3f} to {high:.3f} on"
      " test.",
      _table(distances(outcome)),
      "Means over the arms with sentences, ± sample standard deviations over"
      " seeds (their number). The distance is the accuracy on style less the"
      " one that the line of the seed expects at the accuracy on test; interval"
      " and p are Student's paired t over seeds, and the last p is after Holm's"
      f" correction for the {len(KINDS)} tests of this table. Points beyond the"
      " line have an accuracy on test that no classifier of their seed comes"
      " down or up to.",
    )
  )


def _table(found: Sequence[Distance]) -> str:
  tests = []
  for one in found:
    test = paired_seeds.compare(one.expected, one.style)
    assert test is not None  # the study has at least two seeds
    tests.append(test)
  corrected = significance.holm([test["p"] for test in tests])
  like = study_lib.STUDY.figures[0]
  rows = []
  for one, test, holm in zip(found, tests, corrected, strict=True):
    low, high = (tables.signed(like, x) for x in test["interval"])
    rows.append(
      (
        _title(one.kind),
        *(
          figures_lib.shown(figures_lib.spread([*values.values()]))
          for values in (one.test, one.style, one.expected)
        ),
        f"{tables.signed(like, test['difference'])} ({low} to {high})",
        figures_lib.p_value(test["p"]) or "none",
        figures_lib.p_value(holm) or "none",
        f"{one.num_beyond} of {one.num}",
      )
    )
  return figures_lib.markdown(
    [
      *("models", "test", "style", "style by the line"),
      *("distance (95 %)", "p", "p, Holm", "points beyond the line"),
    ],
    rows,
  )


def _title(kind: str) -> str:
  return f"zero-shot, {kind}" if kind in study_lib.PROMPTS else kind


def _fit(seed: str, pairs_N2: np.ndarray) -> Line:
  test_N, style_N = pairs_N2.T
  _check_within(study_lib.CLASSIFIER, seed, pairs_N2.T)
  if len(np.unique(test_N)) < 3:
    raise failures.RunError(
      "a line needs classifiers of three different accuracies on test; got"
      f" {test_N.tolist()}, seed {seed}"
    )
  x_N, y_N = special.logit(test_N), special.logit(style_N)
  slope, intercept = np.polyfit(x_N, y_N, 1)
  squares = float(((y_N - intercept - slope * x_N) ** 2).sum())
  return Line(
    float(intercept),
    float(slope),
    residual=(squares / (len(x_N) - 2)) ** 0.5,
    low=float(test_N.min()),
    high=float(test_N.max()),
  )


def _check_within(kind: str, seed: str, values_2N: np.ndarray) -> None:
  if not ((values_2N > 0) & (values_2N < 1)).all():
    raise failures.RunError(
      f"accuracies of {kind} must be above 0 and below 1 to have a logit; got"
      f" test {values_2N[0].tolist()} and style {values_2N[1].tolist()}, seed"
      f" {seed}"
    )


if __name__ == "__main__":
  program.run(main, _FLAGS)
