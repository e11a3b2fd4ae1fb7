"""Chart of the study: style over test with the classifiers' line, and shots."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib import axes, figure, ticker
from scipy import special

from experiments.clip import study as study_lib
from experiments.studies import claims, drawing, outcomes
from runtime.pages import chart_style

_SIZE = (9.2, 4.2)
# Models that are drawn over the line, and the marker of each.
_DRAWN = {
  study_lib.CLASSIFIER: "o",
  "ensemble": "s",
  study_lib.probe(study_lib.SHOTS[-1]): "^",
}
# Accuracies that the axes of the scatter may name.
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Part of the span, in logits, that is free beside the outermost points.
_MARGIN = 0.08
_NUM_POINTS = 60


class Line(Protocol):
  """Line of a seed, as robustness.Line."""

  def expected(self, test_N: np.ndarray) -> np.ndarray:
    """Return the accuracies on style that the line expects."""


def points(
  outcome: outcomes.Outcome, kind: str, arms: Sequence[claims.Arm]
) -> dict[str, list[tuple[float, float]]]:
  """Return seed -> accuracies on test and style of a kind, arm by arm."""
  made: dict[str, list[tuple[float, float]]] = {}
  for arm in arms:
    test, style = (
      outcomes.values(outcome, arm, study_lib.figure(split, kind))
      for split in study_lib.SPLITS
    )
    for seed, value in test.items():
      made.setdefault(seed, []).append((value, style[seed]))
  return made


def draw(outcome: outcomes.Outcome, lines: Mapping[str, Line]) -> str:
  """Return the chart as a file's text, the same for the same outcome.

  Args:
    outcome: trials of the study.
    lines: seed -> line of the classifiers.
  """
  with mpl.rc_context(chart_style.STYLE):
    canvas = figure.Figure(figsize=_SIZE, layout="constrained")
    left, right = canvas.subplots(1, 2)
    _draw_scatter(left, outcome, lines)
    _draw_shots(right, outcome)
    for plot in (left, right):
      plot.legend(loc="best", fontsize=9, handlelength=1.8)
  return drawing.file_text(canvas)


def _draw_scatter(
  plot: axes.Axes, outcome: outcomes.Outcome, lines: Mapping[str, Line]
) -> None:
  tests: list[float] = []
  styles: list[float] = []
  for number, (kind, marker) in enumerate(_DRAWN.items()):
    is_line = kind == study_lib.CLASSIFIER
    arms = study_lib.STUDY.arms if is_line else study_lib.WITH_SENTENCES
    values = [x for some in points(outcome, kind, arms).values() for x in some]
    test, style = zip(*values, strict=True)
    tests += test
    styles += style
    plot.plot(
      special.logit(test),
      special.logit(style),
      color=chart_style.SERIES[number],
      linestyle="",
      marker=marker,
      markersize=5,
      alpha=0.7,
      markeredgewidth=0,
      label=f"zero-shot, {kind}" if kind in study_lib.PROMPTS else kind,
    )
  x_N = np.linspace(*_limits(tests), _NUM_POINTS)
  _draw_line(plot, x_N, lines)
  plot.plot(
    x_N,
    x_N,
    color=chart_style.FAINT,
    linestyle=(0, (1, 2)),
    linewidth=1.2,
    label="style = test",
  )
  plot.set_xlim(x_N[0], x_N[-1])
  low, high = _limits([*styles, *special.expit(x_N[[0, -1]])])
  plot.set_ylim(low, high)
  for axis in (plot.xaxis, plot.yaxis):
    axis.set_major_locator(ticker.FixedLocator(special.logit(_TICKS).tolist()))
    axis.set_major_formatter(
      ticker.FuncFormatter(lambda x, _: f"{special.expit(x):.2g}")
    )
  plot.set_xlabel("top-1 on test (logit scale)")
  plot.set_title(
    "top-1 on style (logit scale)", loc="left", size=11, color=chart_style.INK
  )


def _draw_line(
  plot: axes.Axes, x_N: np.ndarray, lines: Mapping[str, Line]
) -> None:
  """Draw the mean of the seeds' lines and its interval, in logits."""
  y_SN = np.array(
    [
      special.logit(line.expected(special.expit(x_N)))
      for line in lines.values()
    ]
  )
  drawing.draw_mean(
    plot,
    x_N,
    y_SN,
    color=chart_style.SERIES[0],
    label="line of the classifiers, 95 %",
  )


def _draw_shots(plot: axes.Axes, outcome: outcomes.Outcome) -> None:
  """Draw probes over shots and zero-shot levels of the largest arm."""
  arm = study_lib.STUDY.arm(study_lib.LARGEST)
  for split, color in zip(study_lib.SPLITS, chart_style.SERIES, strict=False):
    values_KS = [
      _values(outcome, arm, split, study_lib.probe(shots))
      for shots in study_lib.SHOTS
    ]
    plot.errorbar(
      study_lib.SHOTS,
      [statistics.fmean(values) for values in values_KS],
      yerr=[statistics.stdev(values) for values in values_KS],
      color=color,
      marker="o",
      markersize=4,
      capsize=3,
      elinewidth=1.1,
      label=f"probe, {split}",
    )
    values = _values(outcome, arm, split, "ensemble")
    mean, std = statistics.fmean(values), statistics.stdev(values)
    plot.axhspan(mean - std, mean + std, color=color, alpha=0.12, linewidth=0)
    plot.axhline(
      mean,
      color=color,
      linestyle=(0, (4, 2)),
      label=f"zero-shot ensemble, {split}",
    )
  plot.set_xscale("log", base=2)
  plot.set_xticks(study_lib.SHOTS, [str(x) for x in study_lib.SHOTS])
  plot.set_xlabel("shots of a class")
  plot.set_title(
    f"top-1, {arm.name}", loc="left", size=11, color=chart_style.INK
  )


def _values(
  outcome: outcomes.Outcome, arm: claims.Arm, split: str, kind: str
) -> list[float]:
  one = study_lib.figure(split, kind)
  return list(outcomes.values(outcome, arm, one).values())


def _limits(accuracies: Sequence[float]) -> tuple[float, float]:
  """Return the ends of an axis, in logits."""
  logits = special.logit(accuracies)
  free = _MARGIN * (float(np.ptp(logits)) or 1.0)
  return float(logits.min()) - free, float(logits.max()) + free
