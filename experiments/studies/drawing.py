"""Charts of a study as SVG: lines over x, or a row of dots for each arm.

Means over seeds have error bars of one sample standard deviation, and a dot for
each seed beside them. Up to four figures are drawn. In a file, colours are
those of page.css on white; on a page they are its variables.
"""

import io
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import axes, figure, ticker
from scipy import stats

from evaluators.metrics import intervals
from experiments.studies import claims, outcomes, tables
from runtime.pages import chart_style

CHART = "results.svg"
SPARKLINE = "sparkline.svg"
_COLUMNS = 2
# Colours of page.css in its light scheme, for files.
_COLORS = dict(
  zip(
    (chart_style.INK, chart_style.FAINT, *chart_style.SERIES),
    ("#1d1c1a", "#6c6860", "#28608f", "#b3562a", "#6a4c93", "#58761f"),
    strict=True,
  )
) | {str(chart_style.STYLE["grid.color"]): "#e3e0d7"}
# Distance of groups that share an abscissa, and of seeds from their mean, as
# parts of the axis.
_DODGE, _ASIDE = 0.024, 0.009
# Distance of seeds from the row of their arm.
_BELOW = 0.26
_CHANCE = "chance"
_CHANCE_LINE = {
  "color": chart_style.FAINT,
  "linestyle": (0, (1, 2)),
  "linewidth": 1.2,
  "label": _CHANCE,
}
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))
_MARKERS = ("o", "s", "D")
# Most abscissas that are written as ticks.
_MOST_TICKS = 6


def chart(study: claims.Study, outcome: outcomes.Outcome) -> str:
  """Return the chart as a file's text, the same for the same outcome."""
  return file_text(_canvas(study, outcome))


def page_chart(
  study: claims.Study, outcome: outcomes.Outcome, salt: str
) -> str:
  """Return the chart for a page; `salt` differs between its charts."""
  return chart_style.svg(_canvas(study, outcome), salt)


def sparkline(study: claims.Study, outcome: outcomes.Outcome) -> str:
  """Return a small chart of the first figure, without text, as a file's."""
  with mpl.rc_context(chart_style.STYLE):
    canvas = figure.Figure(figsize=(1.7, 0.5))
    plot = canvas.add_axes((0.03, 0.08, 0.94, 0.84))
    if isinstance(study.chart, claims.Lines):
      draw_lines(plot, study, study.chart, outcome, study.figures[0])
    else:
      _draw_columns(plot, study, outcome, study.figures[0])
    plot.set_axis_off()
  return file_text(canvas)


def _canvas(study: claims.Study, outcome: outcomes.Outcome) -> figure.Figure:
  figures = tables.figure_columns(study)
  columns = min(len(figures), _COLUMNS)
  rows = math.ceil(len(figures) / columns)
  is_lines = isinstance(study.chart, claims.Lines)
  height = 3.0 if is_lines else 0.9 + 0.34 * len(study.arms)
  with mpl.rc_context(chart_style.STYLE):
    canvas = figure.Figure(
      figsize=(max(chart_style.WIDTH, 4.6 * columns), height * rows + 0.4),
      layout="constrained",
    )
    plots = canvas.subplots(rows, columns, squeeze=False, sharey=not is_lines)
    for plot in plots.flat[len(figures) :]:
      plot.set_visible(False)
    for shown, plot in zip(figures, plots.flat, strict=False):
      if isinstance(study.chart, claims.Lines):
        draw_lines(plot, study, study.chart, outcome, shown)
        _finish_lines(plot, study, study.chart)
      else:
        _draw_rows(plot, study, outcome, shown)
      plot.set_title(
        tables.titled(shown), loc="left", size=11, color=chart_style.INK
      )
    handles = _handles(plots.flat)
    if handles:
      labels = list(handles)
      canvas.legend(
        list(handles.values()),
        labels,
        loc="outside lower left",
        ncols=_legend_columns(labels, columns),
        handlelength=2.6,
      )
  return canvas


def _handles(plots: Iterable[axes.Axes]) -> dict[str, Any]:
  """Return label -> what a legend shows, chance last."""
  shown: dict[str, Any] = {}
  for plot in plots:
    handles, labels = plot.get_legend_handles_labels()
    shown |= dict(zip(labels, handles, strict=True))
  if _CHANCE in shown:
    shown[_CHANCE] = shown.pop(_CHANCE)
  return shown


def draw_lines(
  plot: axes.Axes,
  study: claims.Study,
  style: claims.Lines,
  outcome: outcomes.Outcome,
  shown: claims.Figure,
) -> None:
  """Draw a figure over the arms' abscissas, a line for each group.

  Args:
    plot: axes.
    study: arms.
    style: chart of the study.
    outcome: its trials.
    shown: the figure.
  """
  points = [arm.x for arm in study.arms if arm.x is not None]
  groups = list(dict.fromkeys(arm.group for arm in study.arms if arm.group))
  if style.is_log:
    plot.set_xscale("log")
  for number, group in enumerate(groups):
    arms = [arm for arm in study.arms if arm.group == group]
    arms.sort(key=lambda arm: arm.x or 0.0)
    values_AS = [_values(outcome, arm, shown) for arm in arms]
    at_A = [arm.x or 0.0 for arm in arms]
    shift_A = np.array([_dodge(study, arm) for arm in arms])
    x_A = _shifted(at_A, points, shift_A, style.is_log)
    aside_A = _shifted(at_A, points, shift_A + _ASIDE, style.is_log)
    color = chart_style.SERIES[number % len(chart_style.SERIES)]
    again = number // len(chart_style.SERIES)
    plot.errorbar(
      x_A,
      [statistics.fmean(values) for values in values_AS],
      yerr=[statistics.stdev(values) for values in values_AS],
      color=color,
      linestyle=_DASHES[again % len(_DASHES)],
      marker=_MARKERS[again % len(_MARKERS)],
      markersize=4,
      capsize=3,
      elinewidth=1.1,
      label=group,
    )
    for x, values in zip(aside_A, values_AS, strict=True):
      _draw_seeds(plot, [x] * len(values), values, color)
  levels = [arm for arm in study.arms if arm.x is None]
  for number, arm in enumerate(levels, len(groups)):
    values = _values(outcome, arm, shown)
    mean, std = statistics.fmean(values), statistics.stdev(values)
    color = chart_style.SERIES[number % len(chart_style.SERIES)]
    plot.axhspan(mean - std, mean + std, color=color, alpha=0.12, linewidth=0)
    dashes = _DASHES[1 + number // len(chart_style.SERIES) % 2]
    plot.axhline(mean, color=color, linestyle=dashes, label=arm.name)
  if shown.chance is not None:
    plot.axhline(shown.chance, **_CHANCE_LINE)


def _finish_lines(
  plot: axes.Axes, study: claims.Study, style: claims.Lines
) -> None:
  plot.set_xlabel(style.label)
  plot.xaxis.set_major_formatter(ticker.FuncFormatter(_tick))
  ticks = sorted({arm.x for arm in study.arms if arm.x is not None})
  if len(ticks) <= _MOST_TICKS and _is_apart(ticks, style.is_log):
    plot.set_xticks(ticks)
    plot.xaxis.set_minor_locator(ticker.NullLocator())
  plot.xaxis.set_minor_formatter(ticker.NullFormatter())
  plot.yaxis.set_major_locator(ticker.MaxNLocator(6))


def _draw_rows(
  plot: axes.Axes,
  study: claims.Study,
  outcome: outcomes.Outcome,
  shown: claims.Figure,
) -> None:
  """Draw a row for each arm, the first one at the top."""
  names = [arm.name for arm in study.arms]
  for row, arm in enumerate(study.arms):
    values = _values(outcome, arm, shown)
    color = chart_style.SERIES[0]
    plot.errorbar(
      [statistics.fmean(values)],
      [row],
      xerr=[statistics.stdev(values)],
      color=color,
      marker="|",
      markersize=11,
      markeredgewidth=2.2,
      elinewidth=1.1,
      capsize=3,
    )
    _draw_seeds(plot, values, [row + _BELOW] * len(values), color)
  if shown.chance is not None:
    plot.axvline(shown.chance, **_CHANCE_LINE)
  plot.set_yticks(range(len(names)), names)
  plot.set_ylim(len(names) - 0.5, -0.5)
  plot.grid(visible=False, axis="y")
  plot.grid(visible=True, axis="x")
  plot.xaxis.set_major_locator(ticker.MaxNLocator(5))


def _draw_columns(
  plot: axes.Axes,
  study: claims.Study,
  outcome: outcomes.Outcome,
  shown: claims.Figure,
) -> None:
  """Draw the seeds of each arm and their mean, for a sparkline."""
  color = chart_style.SERIES[0]
  for column, arm in enumerate(study.arms):
    values = _values(outcome, arm, shown)
    mean = statistics.fmean(values)
    plot.plot([column - 0.3, column + 0.3], [mean, mean], color=color)
    _draw_seeds(plot, [column] * len(values), values, color)
  plot.set_xlim(-0.6, len(study.arms) - 0.4)


def _draw_seeds(
  plot: axes.Axes, x: Sequence[float], y: Sequence[float], color: str
) -> None:
  plot.plot(
    x,
    y,
    color=color,
    linestyle="",
    marker="o",
    markersize=4,
    alpha=0.5,
    markeredgewidth=0,
  )


def _values(
  outcome: outcomes.Outcome, arm: claims.Arm, shown: claims.Figure
) -> list[float]:
  return list(outcomes.values(outcome, arm, shown).values())


def _dodge(study: claims.Study, arm: claims.Arm) -> float:
  """Return the shift of an arm, 0 where no other group has its abscissa."""
  there = [x.group for x in study.arms if x.group and x.x == arm.x]
  sharing = list(dict.fromkeys(there))
  return (sharing.index(arm.group) - (len(sharing) - 1) / 2) * _DODGE


def _shifted(
  x: Sequence[float],
  points: Sequence[float],
  shift_A: np.ndarray,
  is_log: bool,
) -> list[float]:
  """Return abscissas moved by parts of the axis that `points` span."""
  x_A, points_N = np.array(x, float), np.array(points, float)
  if is_log:
    x_A, points_N = np.log(x_A), np.log(points_N)
  x_A = x_A + shift_A * (float(np.ptp(points_N)) or 1.0)
  return list(np.exp(x_A) if is_log else x_A)


def _is_apart(ticks: Sequence[float], is_log: bool) -> bool:
  """Return whether the labels of ticks have room beside each other."""
  places = np.log(ticks) if is_log else np.array(ticks, float)
  if len(places) < 2:
    return True
  return bool(np.diff(places).min() >= 0.1 * np.ptp(places))


def _tick(value: float, _: int) -> str:
  if value >= 1000 and float(value).is_integer():
    return f"{value:,.0f}"
  return f"{value:g}"


def _legend_columns(labels: Sequence[str], columns: int) -> int:
  """Return the legend's columns, so that it is not wider than the panels."""
  longest = max(len(label) for label in labels)
  fitting = (62 if columns == 1 else 88) // (longest + 7)
  return max(1, min(len(labels), fitting))


def draw_mean(
  plot: axes.Axes,
  x_N: np.ndarray,
  y_SN: np.ndarray,
  *,
  color: str,
  label: str,
  shown: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> None:
  """Draw the mean of the seeds' lines with its 95 % interval, of Student's t.

  Args:
    plot: axes.
    x_N: abscissas.
    y_SN: ordinates of a line for each seed, at least two.
    color: colour of the line and, fainter, of the interval.
    label: name of the line in a legend.
    shown: function from these ordinates to those of the axes, as np.exp.
  """
  num = len(y_SN)
  quantile = float(stats.t.ppf((1 + intervals.LEVEL) / 2, num - 1))
  half_N = quantile * y_SN.std(axis=0, ddof=1) / num**0.5
  mean_N = y_SN.mean(axis=0)
  plot.plot(x_N, shown(mean_N), color=color, label=label)
  plot.fill_between(
    x_N,
    shown(mean_N - half_N),
    shown(mean_N + half_N),
    color=color,
    alpha=0.15,
    linewidth=0,
  )


def file_text(canvas: figure.Figure) -> str:
  """Return a drawing in the colours of chart_style as a file's text."""
  buffer = io.StringIO()
  # Reproducible bytes, and text as text instead of paths.
  with mpl.rc_context({"svg.hashsalt": "study", "svg.fonttype": "none"}):
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    canvas.savefig(buffer, format="svg", facecolor="white", metadata=nothing)
  text = buffer.getvalue()
  for name, color in _COLORS.items():
    text = text.replace(name, color)
  return text
