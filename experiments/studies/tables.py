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
  labels = ", ".join(figure.label for figure in study.figures)
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
  low, high = (signed(x) for x in first.interval)
  text = (
    f"{first.comparison.b} - {first.comparison.a}: {signed(first.difference)}"
    f" {first.figure.label} ({low} to {high}; p"
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


def signed(value: float) -> str:
  """Return a difference with its sign.

  >>> signed(0.0312), signed(-12.0)
  ('+0.031', '-12')
  """
  return f"{'-' if value < 0 else '+'}{figures_lib.number(abs(value))}"


def titled(figure: claims.Figure) -> str:
  """Return a figure's label, with a note where less of it is better."""
  less = "" if figure.is_rising else " (less is better)"
  return figure.label + less


def arm_rows(study: claims.Study, outcome: outcomes.Outcome) -> list[list[str]]:
  """Return a row for each arm: name, figures, minutes; and one for chance."""
  rows = []
  for arm in study.arms:
    seconds = [x["seconds"] for x in outcome["trials"] if x["arm"] == arm.name]
    rows.append(
      [
        arm.name,
        *(_spread(outcome, arm, figure) for figure in study.figures),
        f"{statistics.fmean(seconds) / _SECONDS:.1f}",
      ]
    )
  if any(figure.chance is not None for figure in study.figures):
    chances = [figures_lib.number(figure.chance) for figure in study.figures]
    rows.append(["chance", *chances, ""])
  return rows


def _arms(study: claims.Study, outcome: outcomes.Outcome) -> str:
  heads = ["arm", *(titled(figure) for figure in study.figures), "minutes"]
  return figures_lib.markdown(heads, arm_rows(study, outcome))


def _tests(study: claims.Study, outcome: outcomes.Outcome) -> str:
  rows = []
  for test in significance.tests(study, outcome):
    low, high = (signed(x) for x in test.interval)
    rows.append(
      [
        f"{test.comparison.b} - {test.comparison.a}",
        test.figure.label,
        signed(test.difference),
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
  text = figures_lib.shown(figures_lib.spread(values))
  return text.removesuffix(f" ({len(values)})")


def _equals(p: float | None) -> str:
  text = figures_lib.p_value(p)
  if not text:
    return "none"
  return text if text.startswith("<") else f"= {text}"
