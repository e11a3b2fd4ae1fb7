"""Report of a run: report.html, one self-contained page.

The page has no script and makes no request: charts are inline SVG whose colours
are the page's CSS variables (so they follow light and dark mode), pictures are
data: URLs.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from evaluators import summary
from evaluators.figures import gallery, group_figures
from input_pipeline import model_inputs
from runtime.pages import page
from runtime.storage import bucket_path, whole_files
from training.report import report_charts
from training.run import run_warnings


def write(
  workdir: str | os.PathLike,
  *,
  title: str,
  facts: Mapping[str, Any],
  results: Mapping[str, Any],
  panels: Sequence[gallery.Panel] = (),
) -> pathlib.Path:
  """Write workdir/report.html whole or not at all; return its path.

  `facts` are names and values, shown in this order; `results` come from
  evaluators.suite.score and may be empty. Curves are drawn from
  workdir/metrics.jsonl, and warnings read from warnings.jsonl, if they exist.
  """
  workdir = bucket_path.make(workdir)
  path = workdir / "report.html"
  metrics = report_charts.read_metrics(workdir / "metrics.jsonl")
  text = render(
    title=title,
    facts=facts,
    warnings=run_warnings.read(workdir),
    metrics=metrics,
    results=results,
    panels=panels,
  )
  whole_files.write(path, text.encode())
  return path


def render(
  *,
  title: str,
  facts: Mapping[str, Any],
  warnings: Sequence[str] = (),
  metrics: Mapping[int, Mapping[str, float]],
  results: Mapping[str, Any],
  panels: Sequence[gallery.Panel],
) -> str:
  """Return the page; `metrics` maps a step to its figures."""
  rows = summary.rows(results)
  return _template().render(
    title=title,
    facts={**facts, **_inputs(results)},
    warnings=warnings,
    charts=report_charts.draw(metrics),
    tiles=_tiles(rows),
    groups=_by_group(rows),
    attributes=group_figures.tables(results),
    measures=summary.measures(results),
    panels=panels,
    rule=gallery.RULE,
  )


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("report.html.jinja"),
    {
      "words": lambda name: name.replace("_", " "),
      "title_of": summary.title,
      "number": summary.number,
      "chance": functools.partial(summary.number, chance=True),
      "between": _between,
      "percent": lambda share: f"{100 * share:.2f}%",
    },
  )


def _inputs(results: Mapping[str, Any]) -> dict[str, str]:
  """Return the image protocol and the tokenizer that the results are of."""
  inputs = results.get(summary.INPUTS)
  if not inputs:  # of an earlier version
    return {}
  protocol = model_inputs.protocol_of(inputs["image_protocol"])
  tokenizer = inputs["tokenizer"]
  rule = tokenizer["rule"]
  return {
    "image protocol": model_inputs.in_words(protocol),
    "tokenizer": f"{tokenizer['vocab_size']:,} entries, texts of"
    f" {rule['num_tokens']} tokens, cleaning {rule['clean']}, digest"
    f" {tokenizer['digest']}",
  }


def _between(figure: summary.Figure) -> str:
  """Return the interval of a figure, as 0.31–0.42."""
  assert figure.interval is not None  # the template asks
  return "–".join(
    summary.number(dataclasses.replace(figure, value=bound))
    for bound in figure.interval
  )


def _tiles(rows: Sequence[summary.Row]) -> list[dict[str, Any]]:
  # Rows of image to text and of each zero-shot task, for their first figure.
  headline = [
    row
    for row in rows
    if row.figures
    and (row.group == "zero_shot" or row.label.startswith("image to"))
    and "," not in row.label
  ]
  return [{"row": row, "figure": row.figures[0]} for row in headline]


def _by_group(
  rows: Sequence[summary.Row],
) -> dict[str, list[summary.Row]]:
  groups: dict[str, list[summary.Row]] = {}
  for row in rows:
    groups.setdefault(row.group, []).append(row)
  return groups
