"""Page of a comparison: one file, whose script draws the curves.

The script is the page's own; it loads nothing.
"""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from runtime.pages import page
from training.comparison import figures as figures_lib
from training.comparison import runs as runs_lib
from training.run import starts

_MOST_CHARTS = 6
# Points of a curve; more are averaged in as many parts of equal length.
_MOST_POINTS = 300
_MOST_FIGURES = 6


def render(runs: Sequence[runs_lib.Run], compared: Mapping[str, Any]) -> str:
  """Return the page of a comparison.

  Args:
    runs: the runs, in the order of the rows.
    compared: result of `comparison.compare`.
  """
  figure = compared["figure"]
  names = [figure] if figure else []
  names += figures_lib.headlines(
    [name for name in compared["figures"] if name != figure],
    _MOST_FIGURES - len(names),
  )
  # "</script>" in a name must not end the element.
  data = json.dumps(_data(runs, compared), allow_nan=False)
  return _template().render(
    compared=compared,
    names=names,
    best=compared["groups"][0],
    data=data.replace("<", "\\u003c"),
    num_complete=sum(row["is_complete"] for row in compared["runs"]),
  )


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("comparison.html.jinja"),
    {
      "number": figures_lib.number,
      "kwh": starts.shown_kwh,
      "spread": figures_lib.shown,
      "value": lambda fields, name: fields.get(name, ""),
      "p_value": figures_lib.p_value,
      "signed": lambda x: f"{x:+.3f}",
    },
  )


def _data(
  runs: Sequence[runs_lib.Run], compared: Mapping[str, Any]
) -> dict[str, Any]:
  """Return what the script draws, ready for JSON."""
  groups = compared["groups"]
  fields_of = [group["fields"] for group in groups]
  curves = dict.fromkeys(name for run in runs for name in run.curves)
  first = [compared["figure"], figures_lib.LOSS, *compared["figures"]]
  charts = [name for name in dict.fromkeys(first) if name in curves]
  return {
    "runs": [
      {
        "name": run.name,
        "group": _group(row, fields_of),
        "complete": row["is_complete"],
        "batch": run.fields["batch_size"],
        "flop": run.gflop * 1e9,
      }
      for run, row in zip(runs, compared["runs"], strict=True)
    ],
    "charts": [
      {
        "name": name,
        "lines": [
          {"run": number, **_line(run, *run.curves[name])}
          for number, run in enumerate(runs)
          if name in run.curves
        ],
      }
      for name in charts[:_MOST_CHARTS]
    ],
    "axes": [
      *compared["fields"],
      *([compared["figure"]] if compared["figure"] else []),
    ],
    "points": [
      {
        "run": number,
        "values": [
          *(row["fields"].get(name) for name in compared["fields"]),
          row["figures"].get(compared["figure"]),
        ],
      }
      for number, row in enumerate(compared["runs"])
    ],
  }


def _group(
  row: Mapping[str, Any], fields_of: Sequence[Mapping[str, Any]]
) -> int:
  """Return the number of a run's setting, one past all for a lone one."""
  mine = {k: v for k, v in row["fields"].items() if k != figures_lib.SEED}
  return fields_of.index(mine) if mine in fields_of else len(fields_of)


def _line(
  run: runs_lib.Run, steps_N: np.ndarray, values_N: np.ndarray
) -> dict[str, list[float | None]]:
  parts = min(len(steps_N), _MOST_POINTS)
  steps, values = (
    np.array([part.mean() for part in np.array_split(x, parts)])
    for x in (steps_N, values_N)
  )
  return {
    "steps": [round(float(x), 1) for x in steps],
    "hours": [
      float(f"{x:.5g}") if np.isfinite(x) else None for x in run.hours(steps)
    ],
    "values": [float(f"{x:.5g}") if np.isfinite(x) else None for x in values],
  }
