"""Charts of report.html: loss, learning rate, recall over steps, as SVG."""

import json
import math
import os
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib import axes, figure, ticker

from evaluators import directions, pair_scores
from runtime.pages import chart_style
from runtime.storage import bucket_path, segments

Metrics = Mapping[int, Mapping[str, float]]


def read_metrics(path: str | os.PathLike) -> dict[int, dict[str, float]]:
  """Read metrics.jsonl: finite figures by step, steps ascending.

  Lines of one step are merged, later ones win. A line that cannot be parsed
  (the last line of a process that was killed) and a missing file are no error.
  """
  metrics: dict[int, dict[str, float]] = {}
  try:
    text = segments.read(bucket_path.make(path)).decode("utf-8", "replace")
  except FileNotFoundError:
    return metrics
  for line in text.split("\n"):
    try:
      record = json.loads(line)
      step = record.pop("step")
    except (AttributeError, KeyError, TypeError, ValueError):
      continue
    metrics.setdefault(step, {}).update(
      (name, float(value))
      for name, value in record.items()
      if isinstance(value, int | float) and math.isfinite(value)
    )
  return dict(sorted(metrics.items()))


def draw(metrics: Metrics) -> list[chart_style.Chart]:
  """Draw the charts for which there are data."""
  with mpl.rc_context(chart_style.STYLE):
    charts = [_loss_chart(metrics), _recall_chart(metrics)]
  return [chart for chart in charts if chart is not None]


def smooth(values: np.ndarray, reach: int) -> np.ndarray:
  """Average each value with `reach` neighbours on either side.

  Near the ends fewer are used, equally many on both sides: an average over past
  values only would lag behind a falling loss.
  """
  total = np.concatenate([[0.0], np.cumsum(values)])
  i = np.arange(len(values))
  reach_N = np.minimum(reach, np.minimum(i, len(values) - 1 - i))
  return (total[i + reach_N + 1] - total[i - reach_N]) / (2 * reach_N + 1)


def _loss_chart(metrics: Metrics) -> chart_style.Chart | None:
  steps, losses = _series(metrics, "train/loss")
  if not len(steps):
    return None
  rate_steps, rates = _series(metrics, "train/learning_rate")
  canvas = figure.Figure(figsize=(chart_style.WIDTH, 4.2), layout="constrained")
  if len(rates):
    grid = canvas.add_gridspec(2, 1, height_ratios=(3.2, 1))
    top = canvas.add_subplot(grid[0])
    bottom = canvas.add_subplot(grid[1], sharex=top)
    bottom.plot(
      rate_steps, rates, color=chart_style.SERIES[1], marker=_marker(rates)
    )
    peak = max(rates.max(), 1e-12)
    bottom.set_ylim(0, 1.15 * peak)
    bottom.set_yticks([0, peak], ["0", f"{peak:.3g}"])
    bottom.set_title(
      "learning rate", loc="left", size=11, color=chart_style.FAINT
    )
    top.tick_params(labelbottom=False)
    _finish(bottom, rate_steps)
  else:
    top = canvas.add_subplot()
    _finish(top, steps)

  note = "Loss of each step."
  reach = len(steps) // 40
  if reach >= 2:
    top.plot(
      steps, losses, color=chart_style.SERIES[0], alpha=0.3, linewidth=0.8
    )
    top.plot(steps, smooth(losses, reach), color=chart_style.SERIES[0])
    note = (
      "Faint: loss of each step. Line: average of "
      f"{2 * reach + 1} lines of metrics.jsonl."
    )
  else:
    top.plot(steps, losses, color=chart_style.SERIES[0], marker=_marker(losses))
  # A sigmoid loss starts at many times its final value.
  if losses.min() > 0 and losses.max() / losses.min() > 10:
    top.set_yscale("log")
    top.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}"))
    top.yaxis.set_minor_formatter(ticker.NullFormatter())
    note += " Logarithmic scale."
  top.set_title("loss", loc="left", size=11, color=chart_style.FAINT)
  return chart_style.Chart(
    "Training loss", chart_style.svg(canvas, "loss"), note
  )


# Ends of the names of retrieval's first hits, of images and of videos.
_HITS = tuple(f"{way}/R@1" for way in (*directions.NAMES, *pair_scores.NAMES))


def _recall_chart(metrics: Metrics) -> chart_style.Chart | None:
  names = dict.fromkeys(
    name
    for record in metrics.values()
    for name in record
    if name.count("/") == 2 and name.endswith(_HITS)
  )
  series = {name: _series(metrics, name) for name in names}
  steps = np.unique(np.concatenate([s for s, _ in series.values()] or [[]]))
  if len(steps) < 2:
    return None
  canvas = figure.Figure(figsize=(chart_style.WIDTH, 4.2), layout="constrained")
  plot = canvas.add_subplot()
  splits = list(dict.fromkeys(name.split("/")[0] for name in names))
  for name, (x, y) in series.items():
    split, direction, _ = name.split("/")
    plot.plot(
      x,
      y,
      color=chart_style.SERIES[splits.index(split) % len(chart_style.SERIES)],
      linestyle="-" if direction.endswith("_to_text") else (0, (4, 2)),
      marker="o",
      markersize=4,
      label=f"{split} {direction}".replace("_", " "),
    )
  plot.set_ylim(0, 1)
  plot.set_title("R@1", loc="left", size=11, color=chart_style.FAINT)
  canvas.legend(loc="outside lower left", ncols=2, handlelength=3)
  _finish(plot, steps)
  note = "Share of queries whose best answer is the right one."
  return chart_style.Chart(
    "Recall while training", chart_style.svg(canvas, "recall"), note
  )


def _series(metrics: Metrics, name: str) -> tuple[np.ndarray, np.ndarray]:
  pairs = [(step, r[name]) for step, r in metrics.items() if name in r]
  steps, values = np.array(pairs, float).reshape(-1, 2).T
  return steps, values


def _marker(values: np.ndarray) -> str:
  # A line through one point is invisible without a marker.
  return "o" if len(values) < 3 else ""


def _finish(plot: axes.Axes, steps: np.ndarray) -> None:
  plot.set_xlabel("step")
  plot.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
  plot.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
  margin = 0.02 * (steps[-1] - steps[0]) or 1
  plot.set_xlim(steps[0] - margin, steps[-1] + margin)
