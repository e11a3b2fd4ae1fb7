"""Figures along the line between a fine-tuned run and its start.

They show what fine-tuning brought on one set, and lost on another.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import figure

from evaluators import protocols, suite
from inference.evaluation import evaluate, set_measures
from inference.interpolating import interpolation
from runtime import cluster
from runtime.pages import chart_style, page
from runtime.storage import bucket_path, strict_json, whole_files
from training import config as config_lib
from training import metrics
from training.comparison import figures as figures_lib
from training.run import workdir

_TEMPLATE = pathlib.Path(__file__).with_name("curve.html.jinja")
# Files of the curve.
CURVE, PAGE = "interpolation.json", "interpolation.html"
# Most figures that the page draws.
_NUM_DRAWN = 12


def run(
  path: str,
  alphas: Sequence[float],
  config: config_lib.Config | None = None,
  out: str = "",
  *,
  cache_dir: str = "",
  asked: set_measures.Measures = set_measures.Measures(),
  protocol: str = protocols.OWN,
  as_json: bool = False,
) -> int:
  """Evaluate models between a run and its start; write the curve.

  Writes OUT/interpolation.json and .html, and OUT/alpha_A/ with results.json
  and report.html for each alpha A. OUT is the run's folder by default.

  Args:
    path: folder of the run.
    alphas: numbers of 0 (start) to 1 (run), each once.
    config: as of evaluate.run, like the others.
    out: folder to write.
    cache_dir: folder of embeddings.
    asked: measures beyond the sets' own figures.
    protocol: name of the protocol.
    as_json: print the curve as JSON instead of a table.

  Raises:
    ValueError: as interpolation.check and line, and evaluate.run.
  """
  interpolation.check(alphas)
  asked.check()
  folder = bucket_path.make(path)
  if not workdir.is_run(folder):
    state = "no run is in it" if folder.is_dir() else "there is no such folder"
    raise ValueError(
      f"--interpolate needs a run, --workdir=RUN; got {path}: {state}"
    )
  config, model = evaluate.open_model(path, config, out, is_run=True)
  if sets := config.evaluate.generated_sets:
    raise ValueError(
      "--interpolate takes no set whose answers a decoder writes; got"
      f" {', '.join(sets)}"
    )
  line = interpolation.line(folder, model)
  opened = evaluate.open_sets(
    *(model, config, path), asked=asked, protocol=protocol
  )
  target = bucket_path.make(out or path)
  curve: dict[str, dict[str, float]] = {}
  for alpha in sorted(alphas):
    metrics.say(f"Interpolated at {alpha:g}")
    evaluated = evaluate.figures(
      line.at(alpha), config, opened, cache_dir=cache_dir
    )
    curve[f"{alpha:g}"] = suite.scalars(evaluated.results)
    if cluster.is_first():
      facts = evaluated.facts | {"interpolated at": f"{alpha:g}"}
      evaluated = dataclasses.replace(evaluated, facts=facts)
      evaluated.write(target / f"alpha_{alpha:g}")
  if cluster.is_first():
    content = {
      "run": path,
      "start": {
        name: value
        for name in ("init_from", "init_image_from", "init_text_from")
        if (value := getattr(workdir.read_config(folder), name))
      },
      "step": model.step,
      "alphas": curve,
    }
    whole_files.write(
      target / CURVE, (strict_json.dumps(content, indent=2) + "\n").encode()
    )
    _write_page(target, path, curve)
    print(strict_json.dumps(content) if as_json else table(curve))
    metrics.say(f"Curve: {target / PAGE}")
  return 0


def table(curve: Mapping[str, Mapping[str, float]]) -> str:
  """Return figures by alpha as a table of Markdown."""
  names = figures_lib.headlines([*next(iter(curve.values()))], _NUM_DRAWN)
  rows = [
    [name, *(figures_lib.number(curve[alpha].get(name)) for alpha in curve)]
    for name in names
  ]
  return figures_lib.markdown(["figure", *curve], rows)


def _write_page(
  folder: pathlib.Path, path: str, curve: Mapping[str, Mapping[str, float]]
) -> None:
  """Write the page with a chart for each of the first figures."""
  names = figures_lib.headlines([*next(iter(curve.values()))], _NUM_DRAWN)
  alphas = np.array([float(alpha) for alpha in curve])
  charts = []
  with mpl.rc_context(chart_style.STYLE):
    for name in names:
      values = np.array([one.get(name, np.nan) for one in curve.values()])
      canvas = figure.Figure(figsize=(chart_style.WIDTH, 2.6))
      axes = canvas.subplots()
      axes.plot(alphas, values, color=chart_style.SERIES[0], marker="o")
      axes.set_xlabel("alpha: 0 the start, 1 the run")
      canvas.tight_layout()
      choose = np.nanargmax if figures_lib.rises(name) else np.nanargmin
      best = float(alphas[choose(values)])
      charts.append(
        chart_style.Chart(
          name,
          chart_style.svg(canvas, name),
          f"{values[0]:.3f} at {alphas[0]:g}, {values[-1]:.3f} at"
          f" {alphas[-1]:g}; best at {best:g}",
        )
      )
  template = page.template(_TEMPLATE, {})
  whole_files.write(
    folder / PAGE,
    template.render(title=f"{path} and its start", charts=charts).encode(),
  )
