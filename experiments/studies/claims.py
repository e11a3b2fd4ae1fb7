"""Description of a study: a paper's claim, its arms, figures and comparisons.

The study file of --task=sweep has one as STUDY, and yields its trials:

  STUDY = claims.Study(claim="...", source="...", arms=(...), figures=(...))

  def get_study():
    return STUDY.trials()

`python -m experiments.studies.report` makes the tables and the figure of the
claim from the sweep's results.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from experiments.sweeps import study


@dataclasses.dataclass(frozen=True)
class Arm:
  """One setting of a study, run with every seed.

  Attributes:
    name: name in tables.
    changes: field -> value, of the config or of the chain's tasks.
    group: line of the chart that the arm is a point of.
    x: abscissa of the point; None without a line.
  """

  name: str
  changes: Mapping[str, Any]
  group: str = ""
  x: float | None = None


@dataclasses.dataclass(frozen=True)
class Figure:
  """One measured number of a trial.

  Attributes:
    label: name in tables.
    name: name in the sweep's results, as "test/image_to_text/R@1".
    chance: figure of a model that has learned nothing.
    rises: whether more is better.
  """

  label: str
  name: str
  chance: float | None = None
  rises: bool = True


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Difference of two arms, `b` less `a`, paired over seeds."""

  a: str
  b: str


@dataclasses.dataclass(frozen=True)
class Lines:
  """Chart of lines: a figure over `x` for each group of arms."""

  x: str
  is_log: bool = False


@dataclasses.dataclass(frozen=True)
class Dots:
  """Chart of rows: a dot a seed for each arm."""


@dataclasses.dataclass(frozen=True)
class Study:
  """Claim, with all that decides its table.

  Attributes:
    claim: the claim, one sentence.
    source: paper and section.
    arms: settings that are run.
    figures: numbers of the table; the first one is drawn and compared.
    comparisons: pairs of arms whose difference is tested.
    chart: kind of the chart.
    num_seeds: seeds of each arm, from 0.
    seed: field of the seed; "train.seed" in a chain.
    run_minutes: minutes that a run is expected to take on one core.

  Raises:
    ValueError: names stand twice, arms are equal, or a comparison names no arm.
  """

  claim: str
  source: str
  arms: tuple[Arm, ...]
  figures: tuple[Figure, ...]
  comparisons: tuple[Comparison, ...] = ()
  chart: Lines | Dots = Dots()
  num_seeds: int = 3
  seed: str = "seed"
  run_minutes: float = 3.0

  def __post_init__(self):
    names = [arm.name for arm in self.arms]
    _check_distinct("arms", names)
    _check_distinct("figures", [x.label for x in self.figures])
    changes = [
      json.dumps(dict(arm.changes), sort_keys=True, default=str)
      for arm in self.arms
    ]
    _check_distinct("changes of arms", changes)
    for comparison in self.comparisons:
      for name in (comparison.a, comparison.b):
        if name not in names:
          raise ValueError(
            f"comparisons must name arms ({', '.join(names)}); got {name!r}"
          )
    for arm in self.arms:
      if self.seed in arm.changes:
        raise ValueError(
          f"arm {arm.name!r} must not change {self.seed}, which seeds set"
        )
      if isinstance(self.chart, Lines) and arm.x is None:
        raise ValueError(
          f"arm {arm.name!r} must have an x for a chart of lines"
        )
    if not self.arms or not self.figures:
      raise ValueError("a study must have arms and figures")
    if self.num_seeds < 2:
      raise ValueError(
        f"num_seeds must be at least 2, to have a spread; got {self.num_seeds}"
      )

  def trials(self) -> list[study.Changes]:
    """Return a trial for each arm and seed, all seeds of an arm together."""
    return study.seeds(
      [arm.changes for arm in self.arms], self.num_seeds, self.seed
    )

  @property
  def minutes(self) -> float:
    """Minutes of all runs, one after the other."""
    return len(self.arms) * self.num_seeds * self.run_minutes


def _check_distinct(what: str, values: list[str]) -> None:
  for value in values:
    if values.count(value) > 1:
      raise ValueError(f"{what} must differ; {value!r} stands twice")
