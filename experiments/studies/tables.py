"""Tables of a study in Markdown, and its result in one line."""

import statistics

from experiments.studies import claims, outcomes, significance
from training.comparison import figures as figures_lib

_SECONDS = 60.0


def block(study: claims.Study, outcome: outcomes.Outcome, svg: str) -> str:
  """Return what README has between its marks: chart, tables, provenance.

  Args:
    study: claim with its arms.
    outcome: its trials.
    svg: name of the chart's file beside README.
  """
  labels = "; ".join(figure.label for figure in figure_columns(study))
  parts = [f"![{labels} of each arm]({svg})", _arms(study, outcome)]
  parts.append(
    "Means ± sample standard deviations over the seeds 0 to"
    f" {study.num_seeds - 1}; minutes are means."
  )
  if study.comparisons:
    parts += [_tests(study, outcome), _explained(study)]
  parts.append(provenance(outcome))
  return "\n\n".join(parts)


def summary(study: claims.Study, outcome: outcomes.Outcome) -> str:
  """Return what came out in one line.

  It has the study's first comparison, and how many tests hold after Holm's
  correction; without comparisons, the best arm of the first figure.
  """
  tests = significance.tests(study, outcome)
  figure = study.figures[0]
  if not tests:
    return _best(study, outcome, figure)
  first = tests[0]
  low, high = (signed(first.figure, x) for x in first.interval)
  text = (
    f"{first.arms}: {signed(first.figure, first.difference)}"
    f" {first.figures} ({low} to {high}; p"
    f" {_equals(first.holm)} after Holm's correction)"
  )
  if len(tests) > 1:
    num_clear = sum(
      test.holm is not None and test.holm < significance.LEVEL for test in tests
    )
    text += (
      f"; {num_clear} of {len(tests)} tests have p < {significance.LEVEL} after"
      " it"
    )
  return text


def shown(figure: claims.Figure, value: float, like: float) -> str:
  """Return a number for a table, with the digits that its figure asks for.

  Args:
    figure: figure of the number; one whose chance is below 0.001 has four
      decimals, others three.
    value: the number, as a standard deviation.
    like: number whose size decides: with 10 or more, and with less than 0.001
      where no chance is known, digits are significant ones.

  >>> shown(claims.Figure("R@1", "R@1", chance=1 / 1138), 0.04, 0.04)
  '0.0400'
  """
  size = abs(like)
  if size >= 10 or (0 < size < 0.001 and figure.chance is None):
    return f"{value:.4g}"
  is_small = figure.chance is not None and 0 < figure.chance < 0.001
  return f"{value:.{4 if is_small else 3}f}"


def signed(figure: claims.Figure, value: float) -> str:
  """Return a difference of a figure with its sign.

  >>> signed(claims.Figure("R@1", "R@1"), 0.0312)
  '+0.031'
  """
  sign = "-" if value < 0 else "+"
  return f"{sign}{shown(figure, abs(value), value)}"


def titled(figure: claims.Figure) -> str:
  """Return a figure's label, with a note where less of it is better."""
  less = "" if figure.is_rising else " (less is better)"
  return figure.label + less


def figure_columns(study: claims.Study) -> tuple[claims.Figure, ...]:
  """Return the figures that have a column in the table of arms."""
  return study.figures[: study.num_columns]


def arm_rows(study: claims.Study, outcome: outcomes.Outcome) -> list[list[str]]:
  """Return a row for each arm: name, figures, minutes; and one for chance."""
  figures = figure_columns(study)
  rows = []
  for arm in study.arms:
    seconds = [x["seconds"] for x in outcome["trials"] if x["arm"] == arm.name]
    rows.append(
      [
        arm.name,
        *(_spread(outcome, arm, figure) for figure in figures),
        f"{statistics.fmean(seconds) / _SECONDS:.1f}",
      ]
    )
  if any(figure.chance is not None for figure in figures):
    chances = [_chance(figure) for figure in figures]
    rows.append(["chance", *chances, ""])
  return rows


def further_rows(
  study: claims.Study, outcome: outcomes.Outcome
) -> list[list[str]]:
  """Return a row for each further figure: label, chance, arms."""
  return [
    [
      titled(figure),
      _chance(figure),
      *(_spread(outcome, arm, figure) for arm in study.arms),
    ]
    for figure in study.figures[study.num_columns :]
  ]


def _arms(study: claims.Study, outcome: outcomes.Outcome) -> str:
  heads = ["arm", *(titled(x) for x in figure_columns(study)), "minutes"]
  text = figures_lib.markdown(heads, arm_rows(study, outcome))
  if rows := further_rows(study, outcome):
    heads = ["figure", "chance", *(arm.name for arm in study.arms)]
    text += "\n\n" + figures_lib.markdown(heads, rows)
  return text


def _tests(study: claims.Study, outcome: outcomes.Outcome) -> str:
  rows = []
  for test in significance.tests(study, outcome):
    low, high = (signed(test.figure, x) for x in test.interval)
    rows.append(
      [
        test.arms,
        test.figures,
        signed(test.figure, test.difference),
        f"{low} to {high}",
        figures_lib.p_value(test.p) or "none",
        figures_lib.p_value(test.holm) or "none",
      ]
    )
  heads = ["difference of", "figure", "mean", "95 % interval", "p", "p, Holm"]
  return figures_lib.markdown(heads, rows)


def _explained(study: claims.Study) -> str:
  tests = study.num_tests
  number = f"{tests} tests" if tests > 1 else "one test"
  return (
    f"Differences are paired by seed. Intervals and p (two-sided) are those of"
    f" Student's paired t over {study.num_seeds} seeds; the last column is p"
    f" after Holm's correction for the {number} of this table. A p is none"
    " where all seeds have the same difference."
  )


def provenance(outcome: outcomes.Outcome) -> str:
  """Return runs, time, versions, hardware and commits in a sentence."""
  trials = outcome["trials"]
  minutes = sum(row["seconds"] for row in trials) / _SECONDS
  text = f"{len(trials)} runs, {minutes:.0f} minutes in all"
  environments = outcome["environments"]
  for shown in (
    [f"jax {x['versions']['jax']}" for x in environments if x["versions"]],
    [_hardware(x["hardware"]) for x in environments if x["hardware"]],
    [f"commit {_commit(x['commit'])}" for x in environments if x["commit"]],
  ):
    if shown:
      text += "; " + ", ".join(dict.fromkeys(shown))
  return text + "."


def _hardware(facts: dict[str, object]) -> str:
  cores = facts.get("cores")
  plural = "" if cores == 1 else "s"
  return f"{facts.get('cpu') or facts.get('devices')} with {cores} core{plural}"


def _commit(commit: str) -> str:
  head, _, changes = commit.partition("+")
  return head[:12] + (" with changes" if changes else "")


def _best(
  study: claims.Study, outcome: outcomes.Outcome, figure: claims.Figure
) -> str:
  rises = figure.is_rising

  def key(arm: claims.Arm) -> float:
    mean = statistics.fmean(outcomes.values(outcome, arm, figure).values())
    return mean if rises else -mean

  best = max(study.arms, key=key)
  text = f"{best.name}: {figure.label} {_spread(outcome, best, figure)}"
  if len(study.arms) > 1:
    text += (
      f", the {'highest' if rises else 'lowest'} of {len(study.arms)} arms"
    )
  return text


def _spread(
  outcome: outcomes.Outcome, arm: claims.Arm, figure: claims.Figure
) -> str:
  values = list(outcomes.values(outcome, arm, figure).values())
  mean, std = statistics.fmean(values), statistics.stdev(values)
  return f"{shown(figure, mean, mean)} ± {shown(figure, std, mean)}"


def _chance(figure: claims.Figure) -> str:
  if figure.chance is None:
    return ""
  return shown(figure, figure.chance, figure.chance)


def _equals(p: float | None) -> str:
  text = figures_lib.p_value(p)
  if not text:
    return "none"
  return text if text.startswith("<") else f"= {text}"
