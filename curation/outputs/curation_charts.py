"""Charts of curation.html: counts of entries, histograms of scores with cuts.

Two entries of a step's facts are drawn:

  histogram   {"edges": [n + 1], "counts": [n], "cut": value or null} of scores
  curves      {"ranks": [n], "before": [n], "after": [n], "t": value}: counts of
              entries in descending order of `before`
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import figure, ticker

from runtime.pages import chart_style


def draw(step: str, facts: Mapping[str, Any]) -> list[chart_style.Chart]:
  """Return the charts of a step's facts."""
  charts = []
  with mpl.rc_context(chart_style.STYLE):
    if facts.get("histogram"):
      charts.append(_histogram(step, facts["histogram"]))
    if facts.get("curves"):
      charts.append(_curves(step, facts["curves"]))
  return charts


def _histogram(step: str, data: Mapping[str, Any]) -> chart_style.Chart:
  edges, counts = np.array(data["edges"]), np.array(data["counts"])
  cut = data["cut"]
  canvas, plot = _canvas()
  is_kept = np.ones(len(counts), bool) if cut is None else edges[1:] > cut
  for kept, color in ((True, 0), (False, 1)):
    is_shown = is_kept == kept
    plot.bar(
      edges[:-1][is_shown],
      counts[is_shown],
      width=np.diff(edges)[is_shown] * 0.9,
      align="edge",
      color=chart_style.SERIES[color],
    )
  note = f"{counts.sum():,} pairs."
  if cut is not None:
    plot.axvline(cut, color=chart_style.INK, linewidth=1.2)
    note = f"{counts.sum():,} pairs; those from {cut:.4g} on are kept."
  plot.yaxis.set_major_formatter(ticker.FuncFormatter(_short))
  plot.set_xlabel("score")
  plot.set_title("pairs", loc="left", size=11, color=chart_style.FAINT)
  return chart_style.Chart(
    f"Scores of {step}", chart_style.svg(canvas, step), note
  )


def _curves(step: str, data: Mapping[str, Any]) -> chart_style.Chart:
  ranks = np.array(data["ranks"])
  canvas, plot = _canvas()
  for number, name in enumerate(("before", "after")):
    counts = np.array(data[name], float)
    # A logarithmic axis has no 0.
    shown = counts > 0
    plot.plot(
      ranks[shown], counts[shown], color=chart_style.SERIES[number], label=name
    )
  plot.set_xscale("log")
  plot.set_yscale("log")
  plot.axhline(data["t"], color=chart_style.INK, linewidth=1.2)
  plot.annotate(
    f"t = {data['t']:,.4g}",
    (1, data["t"]),
    xycoords=("axes fraction", "data"),
    xytext=(-4, 4),
    textcoords="offset points",
    ha="right",
    color=chart_style.INK,
  )
  plot.xaxis.set_major_formatter(ticker.FuncFormatter(_short))
  plot.yaxis.set_major_formatter(ticker.FuncFormatter(_short))
  plot.yaxis.set_minor_formatter(ticker.NullFormatter())
  plot.legend(loc="lower left")
  plot.set_xlabel("entry, by its count")
  plot.set_title("matches", loc="left", size=11, color=chart_style.FAINT)
  note = (
    "Matches of each entry of the metadata, before and after balancing. Entries"
    " above t are the head: t matches of each are expected to be drawn; more"
    " stay where tail entries are in the same captions."
  )
  return chart_style.Chart(
    f"Head and tail of {step}", chart_style.svg(canvas, f"{step}-curves"), note
  )


def _canvas() -> tuple[figure.Figure, Any]:
  canvas = figure.Figure(figsize=(chart_style.WIDTH, 3.6), layout="constrained")
  return canvas, canvas.add_subplot()


def _short(value: float, _: object) -> str:
  """Return 12,000 as 12k: axes have little room."""
  for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
    if abs(value) >= limit:
      return f"{value / limit:g}{letter}"
  return f"{value:g}"
