"""HTML page of an evaluation on sets by name: figures, classes, confusions."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from evaluators import set_tables
from runtime.pages import page

# Classes of each end, and confused pairs, that the page lists.
_NUM_CLASSES = 8
_NUM_PAIRS = 10


def render(
  title: str,
  results: Mapping[str, Any],
  details: Mapping[str, Mapping[str, Any]],
) -> str:
  """Return the page.

  Args:
    title: heading.
    results: content of results.json.
    details: content of sets/NAME.json, by set.
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
    sets={name: _set(results[name], details[name]) for name in details},
  )


def _set(
  record: Mapping[str, Any], details: Mapping[str, Any]
) -> dict[str, Any]:
  classes = [
    row for row in details.get("per_class", ()) if row.get("recall") is not None
  ]
  ordered = sorted(classes, key=lambda row: (row["recall"], row["class"]))
  return {
    "parts": [
      {"label": label.strip(), "figures": _figures(part)}
      for label, part in set_tables.parts(record)
    ],
    "protocol": record["protocol"],
    "warnings": details["audit"]["warnings"],
    "worst": ordered[:_NUM_CLASSES],
    "best": ordered[max(_NUM_CLASSES, len(ordered) - _NUM_CLASSES) :][::-1],
    "confused": details.get("most_confused", ())[:_NUM_PAIRS],
    "groups": details.get("groups", {}),
    "gaps": details.get("gaps", {}),
  }


def _figures(part: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
  return [
    {
      "name": name.replace("_", " "),
      "value": part[name],
      "chance": part.get("chance", {}).get(name),
      "interval": part.get("intervals", {}).get(name),
      "is_share": not name.endswith("rank"),
    }
    for name in set_tables.FIGURES
    if isinstance(part.get(name), float)
  ]


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("evaluation.html.jinja"),
    {
      "number": set_tables.number,
      "percent": lambda share: f"{100 * min(max(share, 0.0), 1.0):.2f}%",
    },
  )
