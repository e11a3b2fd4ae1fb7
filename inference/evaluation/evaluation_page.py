"""HTML page of an evaluation on sets by name: figures, classes, confusions."""

import functools
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from evaluators import set_tables
from evaluators.figures import gallery
from evaluators.measures import tables
from runtime.pages import heat_map, page

_AP = "average_precision"
# Classes of each end, and confused pairs, that the page lists.
_NUM_CLASSES = 8
_NUM_PAIRS = 10
# Rows of a table of all classes; the CSV file has all.
_MOST_CLASSES = 2000
# Longest side of a picture in pixels.
_SIDE = 96


def render(
  title: str,
  results: Mapping[str, Any],
  details: Mapping[str, Mapping[str, Any]],
  panels: Mapping[str, Sequence[gallery.Panel]] = types.MappingProxyType({}),
) -> str:
  """Return the page.

  Args:
    title: heading.
    results: content of results.json.
    details: content of sets/NAME.json, by set.
    panels: galleries, by set.
  """
  model = results["model"]
  return _template().render(
    title=title,
    facts={
      "model": model["path"],
      "weights": model["digest"],
      "arithmetic": model["dtype"],
      "image size": model["image_protocol"].get("size", "NaFlex"),
      "JAX": f"{model['jax']} on {model['platform']}",
    },
    means=results["means"],
    sets={
      name: _set(results[name], details[name])
      | {"file": name.replace("/", "-"), "panels": panels.get(name, ())}
      for name in details
    },
    rule=gallery.RULE,
  )


def _set(
  record: Mapping[str, Any], details: Mapping[str, Any]
) -> dict[str, Any]:
  every = details.get("per_class", ())
  # Several labels an image have no recall.
  key = "recall" if any("recall" in row for row in every) else _AP
  classes = [
    {"class": row["class"], "n": row["n"], "value": row[key]}
    for row in every
    if row.get(key) is not None
  ]
  ordered = sorted(classes, key=lambda row: (row["value"], row["class"]))
  parts = [*set_tables.parts(record)]
  return {
    "main": _main(parts),
    "kind": record["kind"],
    "parts": [
      {"label": label.strip(), "figures": _figures(part)}
      for label, part in parts
    ],
    "languages": set_tables.languages(record),
    "measures": [*tables.rows(record)],
    "by": key.replace("_", " "),
    "classes": every[:_MOST_CLASSES],
    "num_classes": len(every),
    "columns": [
      name for name in (every[0] if every else ()) if name != "class"
    ],
    "confusion": heat_map.svg(
      [row["class"] for row in every], details["confusion"]
    )
    if "confusion" in details
    else "",
    "protocol": record["protocol"],
    "warnings": details["audit"]["warnings"],
    "worst": ordered[:_NUM_CLASSES],
    "best": ordered[max(_NUM_CLASSES, len(ordered) - _NUM_CLASSES) :][::-1],
    "confused": details.get("most_confused", ())[:_NUM_PAIRS],
    "groups": details.get("groups", {}),
    "gaps": details.get("gaps", {}),
  }


def _main(
  parts: Sequence[tuple[str, Mapping[str, Any]]],
) -> Mapping[str, Any] | None:
  """Return the first figure of a set, with its part's label."""
  for label, part in parts:
    for figure in _figures(part):
      return {**figure, "name": f"{label}{figure['name']}"}
  return None


def _figures(part: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
  return [
    {
      "name": name.replace("_", " "),
      "value": part[name],
      "chance": part.get("chance", {}).get(name),
      "interval": part.get("intervals", {}).get(name),
      "is_share": set_tables.is_share(name),
    }
    for name in set_tables.figures(part)
  ]


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("evaluation.html.jinja"),
    {
      "number": set_tables.number,
      "percent": lambda share: f"{100 * min(max(share, 0.0), 1.0):.2f}%",
      "cell": _cell,
    },
    side=_SIDE,
  )


def _cell(value: Any) -> str:
  """Return a number of a table of classes, "–" for none."""
  if value is None:
    return "–"
  return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
