"""Claims of papers as data: arms, figures, comparisons and their chart.

A study file has a `STUDY` beside its get_study():

  from experiments.studies import claims

  STUDY = claims.Study(
    claim="Sigmoid is better than softmax at batches below 16k.",
    source="arXiv 2303.15343, figure 2",
    arms=(
      claims.Arm("softmax", {"loss.name": "softmax"}),
      claims.Arm("sigmoid", {"loss.name": "sigmoid"}),
    ),
    figures=(claims.Figure("R@1", "test/text_to_image/R@1", chance=1 / 400),),
    comparisons=(claims.Comparison("softmax", "sigmoid"),),
    chart=claims.Dots(),
    run_minutes=2.0,
  )

  def get_study():
    return STUDY.trials()
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.sweeps import study
from training.comparison import figures as figures_lib

# Seeds below which no standard deviation over seeds is meaningful; ours.
_MIN_SEEDS = 2


@dataclasses.dataclass(frozen=True)
class Arm:
  """One setting, which is run with each seed.

  Attributes:
    name: text that tables and comparisons name it by.
    changes: config field -> value; in a chain, fields begin with their task.
    group: line of the chart that it is a point of; "" for none.
    x: abscissa in the chart; None for none.
  """

  name: str
  changes: Mapping[str, Any]
  group: str = ""
  x: float | None = None


@dataclasses.dataclass(frozen=True)
class Figure:
  """One figure of a run, or the mean of several.

  Attributes:
    label: text that tables and charts name it by.
    name: its name among a trial's figures in results.json of the sweep, or a
      tuple of names, whose mean it is.
    chance: value without any knowledge; None where there is none.
    rises: whether more is better; None tells it by the name (a loss or a rank
      falls).
  """

  label: str
  name: str | tuple[str, ...]
  chance: float | None = None
  rises: bool | None = None

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the figures that it is the mean of; one for a single figure."""
    return (self.name,) if isinstance(self.name, str) else self.name

  @property
  def is_rising(self) -> bool:
    """Whether more is better."""
    if self.rises is None:
      return figures_lib.rises(self.names[0])
    return self.rises


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Difference b - a of two arms, or of two figures, paired by seed.

  With `base`, the difference is one of figures: b's figure less a's figure
  `base`. The arms may then be the same one:

    Comparison("large", "large", ("ensemble",), base="one prompt")

  Attributes:
    a: name of the arm that is subtracted.
    b: name of the other arm.
    figures: labels of the figures that are compared; () for the first one of
      the study alone.
    base: label of the figure of a that is subtracted from each of `figures`;
      "" for the same figure.
  """

  a: str
  b: str
  figures: tuple[str, ...] = ()
  base: str = ""


@dataclasses.dataclass(frozen=True)
class Lines:
  """Chart of a line for each group over x; arms without x are levels.

  Attributes:
    label: name of the abscissa, with its unit.
    is_log: whether the abscissa is logarithmic.
  """

  label: str
  is_log: bool = False


@dataclasses.dataclass(frozen=True)
class Dots:
  """Chart of a column for each arm, with a dot for each seed."""


@dataclasses.dataclass(frozen=True)
class Study:
  """A claim and the runs that test it.

  Attributes:
    claim: one sentence of the paper, in own words.
    source: paper with its table, figure or section.
    arms: settings, in the order of tables and charts.
    figures: figures that are shown; the first one is the headline.
    comparisons: differences that are tested, chosen before the runs.
    chart: kind of the chart.
    num_seeds: seeds 0 to num_seeds - 1, at least 2.
    run_minutes: expected minutes of a run on 2 cores; None where unknown.
    seed: config field of the seed; in a chain, "train.seed", or the fields of
      several tasks.
    num_columns: figures that have a column in the table of arms and a panel
      in the chart; the others have a row in a table of their own.

  Raises:
    ValueError: a field is not usable; the message names it.
  """

  claim: str
  source: str
  arms: tuple[Arm, ...]
  figures: tuple[Figure, ...]
  comparisons: tuple[Comparison, ...] = ()
  chart: Lines | Dots = Dots()
  num_seeds: int = 3
  run_minutes: float | None = None
  seed: str | tuple[str, ...] = "seed"
  num_columns: int = 6

  def __post_init__(self) -> None:
    for field in ("claim", "source"):
      value = getattr(self, field)
      if not _is_text(value):
        raise ValueError(f"{field} must be a text; got {value!r}")
    if not self.seeds or not all(map(_is_text, self.seeds)):
      raise ValueError(
        f"seed must be a text, or a tuple of texts; got {self.seed!r}"
      )
    for field, kind in (
      ("arms", Arm),
      ("figures", Figure),
      ("comparisons", Comparison),
    ):
      values = getattr(self, field)
      is_some = isinstance(values, tuple) and (values or kind is Comparison)
      if not is_some or not all(isinstance(x, kind) for x in values):
        raise ValueError(
          f"{field} must be a tuple of {kind.__name__}; got {values!r}"
        )
    if not isinstance(self.chart, Lines | Dots):
      raise ValueError(f"chart must be Lines or Dots; got {self.chart!r}")
    _check_number("num_seeds", self.num_seeds, int, _MIN_SEEDS)
    _check_number("num_columns", self.num_columns, int, 1)
    if self.run_minutes is not None:
      _check_number("run_minutes", self.run_minutes, int | float, 0)
    _check_names("arms", "name", [arm.name for arm in self.arms])
    _check_names("figures", "label", [x.label for x in self.figures])
    self._check_figures()
    self._check_arms()
    self._check_chart()
    self._check_comparisons()

  @property
  def num_tests(self) -> int:
    """Number of comparisons times figures, which Holm corrects for."""
    return sum(len(self.compared(x)) for x in self.comparisons)

  @property
  def seeds(self) -> tuple[str, ...]:
    """Config fields of the seed."""
    return self.seed if isinstance(self.seed, tuple) else (self.seed,)

  def arm(self, name: str) -> Arm:
    """Return the arm of a name."""
    return next(arm for arm in self.arms if arm.name == name)

  def compared(self, comparison: Comparison) -> tuple[Figure, ...]:
    """Return the figures that a comparison is about."""
    if not comparison.figures:
      return self.figures[:1]
    return tuple(x for x in self.figures if x.label in comparison.figures)

  def subtracted(self, comparison: Comparison, figure: Figure) -> Figure:
    """Return the figure of arm a that is subtracted from b's `figure`."""
    base = comparison.base or figure.label
    return next(x for x in self.figures if x.label == base)

  def runs(self) -> list[tuple[Arm, int, study.Changes]]:
    """Return arm, seed and changes of each trial, in the order of trials()."""
    return [
      (arm, seed, {**arm.changes, **dict.fromkeys(self.seeds, seed)})
      for arm in self.arms
      for seed in range(self.num_seeds)
    ]

  def trials(self) -> list[study.Changes]:
    """Return the trials of --task=sweep: each arm with each seed."""
    return [changes for _, _, changes in self.runs()]

  def _check_figures(self) -> None:
    listed = []
    for figure in self.figures:
      if not (isinstance(figure.name, str | tuple) and figure.name):
        raise ValueError(
          f"name of figure {figure.label!r} must be a text or a tuple of"
          f" texts; got {figure.name!r}"
        )
      _check_names(f"figure {figure.label!r}", "name", figure.names)
      if len({figures_lib.rises(name) for name in figure.names}) > 1:
        raise ValueError(
          f"figure {figure.label!r} must be a mean of figures that all rise or"
          f" all fall with quality; got {figure.names}"
        )
      listed.append(" + ".join(sorted(figure.names)))
    _check_names("figures", "name", listed)

  def _check_arms(self) -> None:
    texts: dict[str, str] = {}
    for arm in self.arms:
      if not isinstance(arm.changes, Mapping):
        raise ValueError(
          f"changes of arm {arm.name!r} must map fields to values; got"
          f" {arm.changes!r}"
        )
      if given := [field for field in self.seeds if field in arm.changes]:
        raise ValueError(
          f"changes of arm {arm.name!r} must leave {', '.join(given)} to the"
          f" study, which gives each arm the seeds 0 to {self.num_seeds - 1}"
        )
      try:
        text = json.dumps(dict(arm.changes), sort_keys=True)
      except TypeError as error:
        raise ValueError(
          f"changes of arm {arm.name!r} must be values that JSON has; {error}"
        ) from error
      if text in texts:
        raise ValueError(
          f"changes of arms must differ; {texts[text]!r} and {arm.name!r} have"
          f" the same: {text}"
        )
      texts[text] = arm.name

  def _check_chart(self) -> None:
    is_lines = isinstance(self.chart, Lines)
    is_log = isinstance(self.chart, Lines) and self.chart.is_log
    points = set()
    for arm in self.arms:
      if bool(arm.group) != (arm.x is not None):
        raise ValueError(
          f"arm {arm.name!r} must have both group and x, or neither; got"
          f" group={arm.group!r}, x={arm.x}"
        )
      if arm.x is None:
        continue
      if not math.isfinite(arm.x) or (is_log and arm.x <= 0):
        kind = "above 0, as the axis is logarithmic" if is_log else "finite"
        raise ValueError(f"x of arm {arm.name!r} must be {kind}; got {arm.x}")
      if (arm.group, arm.x) in points:
        raise ValueError(
          f"arms of group {arm.group!r} must differ in x; two have {arm.x}"
        )
      points.add((arm.group, arm.x))
    if is_lines and not points:
      raise ValueError("chart=Lines needs arms with group and x; got none")

  def _check_comparisons(self) -> None:
    names = [arm.name for arm in self.arms]
    labels = [figure.label for figure in self.figures]
    pairs = set()
    for comparison in self.comparisons:
      for name in (comparison.a, comparison.b):
        if name not in names:
          raise ValueError(
            f"comparisons must name arms ({', '.join(names)}); got {name!r}"
          )
      pair: Any = frozenset((comparison.a, comparison.b))
      if comparison.base:
        pair = dataclasses.astuple(comparison)
      if len(pair) < 2 or pair in pairs:
        raise ValueError(
          "comparisons must be of two arms, each pair once; got"
          f" {comparison.a!r} and {comparison.b!r}"
        )
      pairs.add(pair)
      if isinstance(comparison.figures, str):
        raise ValueError(
          "figures of a comparison must be a tuple of labels; got"
          f" {comparison.figures!r}"
        )
      for label in comparison.figures:
        if label not in labels:
          raise ValueError(
            "figures of a comparison must be labels of figures"
            f" ({', '.join(labels)}); got {label!r}"
          )
      if comparison.base:
        self._check_base(comparison, labels)

  def _check_base(self, comparison: Comparison, labels: Sequence[str]) -> None:
    if comparison.base not in labels:
      raise ValueError(
        f"base of a comparison must be a label of figures ({', '.join(labels)})"
        f"; got {comparison.base!r}"
      )
    compared = [figure.label for figure in self.compared(comparison)]
    if comparison.base in compared:
      raise ValueError(
        "base of a comparison must be none of its figures"
        f" ({', '.join(compared)}); got {comparison.base!r}"
      )


def _is_text(value: Any) -> bool:
  return isinstance(value, str) and bool(value.strip())


def _check_number(field: str, value: Any, kind: Any, least: float) -> None:
  is_number = isinstance(value, kind) and not isinstance(value, bool)
  if not is_number or not math.isfinite(value) or value < least:
    raise ValueError(f"{field} must be {least} or more; got {value!r}")


def _check_names(field: str, part: str, names: Iterable[str]) -> None:
  seen = set()
  for name in names:
    if not _is_text(name):
      raise ValueError(f"{part} in {field} must be a text; got {name!r}")
    if name in seen:
      raise ValueError(f"{part} in {field} must be unique; {name!r} is twice")
    seen.add(name)
