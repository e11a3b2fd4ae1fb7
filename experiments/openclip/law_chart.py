"""Chart of the law: error over compute, and the run that it predicts."""

from collections.abc import Mapping
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib import axes, figure, ticker

from experiments.openclip import config
from experiments.studies import claims, drawing, outcomes
from runtime.pages import chart_style

_SIZE = (9.2, 4.0)
_NUM_POINTS = 60
# Errors that the ordinate may name.
_TICKS = tuple(x / 20 for x in range(1, 21))


class Law(Protocol):
  """Law of a seed, as law.Law."""

  def error(self, compute_N: np.ndarray) -> np.ndarray:
    """Return the errors that the law expects, from GFLOPs."""


def draw(
  study: claims.Study,
  outcome: outcomes.Outcome,
  laws: Mapping[str, Mapping[str, Law]],
) -> str:
  """Return the chart as a file's text, the same for the same outcome.

  Args:
    study: arms and figures.
    outcome: its trials.
    laws: label of a figure -> seed -> law.
  """
  with mpl.rc_context(chart_style.STYLE):
    canvas = figure.Figure(figsize=_SIZE, layout="constrained")
    plots = canvas.subplots(1, len(study.figures), squeeze=False)[0]
    for plot, one in zip(plots, study.figures, strict=True):
      _draw_arms(plot, study, outcome, one)
      _draw_law(plot, study, laws[one.label])
      plot.set_xscale("log")
      plot.set_yscale("log")
      plot.yaxis.set_major_locator(ticker.FixedLocator(_TICKS))
      plot.yaxis.set_minor_locator(ticker.NullLocator())
      plot.yaxis.set_major_formatter(ticker.FormatStrFormatter("%.2f"))
      plot.set_xlabel("GFLOP of a run")
      plot.set_title(
        f"1 - {one.label}", loc="left", size=11, color=chart_style.INK
      )
    plots[0].legend(loc="lower left", fontsize=9, handlelength=1.8)
  return drawing.file_text(canvas)


def _draw_arms(
  plot: axes.Axes,
  study: claims.Study,
  outcome: outcomes.Outcome,
  one: claims.Figure,
) -> None:
  """Draw a dot for each run, coloured by width; hollow where held out."""
  groups = list(dict.fromkeys(arm.group for arm in study.arms))
  for number, group in enumerate(groups):
    for is_held_out in (False, True):
      points_N2 = [
        (arm.x or 0.0, 1 - value)  # each arm of the study has its compute
        for arm in study.arms
        if arm.group == group
        and (arm.x == config.compute(*config.HELD_OUT)) == is_held_out
        for value in outcomes.values(outcome, arm, one).values()
      ]
      if not points_N2:
        continue
      plot.plot(
        *np.array(points_N2).T,
        color=chart_style.SERIES[number],
        linestyle="",
        marker="o",
        markersize=6 if is_held_out else 5,
        markerfacecolor="none" if is_held_out else None,
        label=f"{group}, held out" if is_held_out else group,
      )


def _draw_law(
  plot: axes.Axes, study: claims.Study, by_seed: Mapping[str, Law]
) -> None:
  """Draw the mean of the seeds' laws and its interval, in logarithms."""
  ends = [arm.x for arm in study.arms if arm.x is not None]
  x_N = np.geomspace(min(ends), max(ends), _NUM_POINTS)
  y_SN = np.array([np.log(law.error(x_N)) for law in by_seed.values()])
  drawing.draw_mean(
    plot,
    x_N,
    y_SN,
    color=chart_style.FAINT,
    label="law, 95 % of the mean",
    shown=np.exp,
  )
