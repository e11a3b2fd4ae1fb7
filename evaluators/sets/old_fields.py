"""Upgrade of the evaluation fields of runs that older versions began."""

from collections.abc import Mapping
from typing import Any

from evaluators import sets
from evaluators.sets import kinds

# Fields of `evaluate` before evaluate.sets: splits of the training sources, and
# tasks over them.
_OLD = ("retrieval", "zero_shot")
# Metrics that had another name.
_METRICS = {"mean_class_top_1": "mean_per_class"}
# Fields of a source that only training reads.
_UNUSED = {
  "templates": (),
  "weight": 0.0,
  "repeat": 1,
  "subset": "",
  "keep": "",
}


def upgraded(values: Mapping[str, Any]) -> Mapping[str, Any]:
  """Return the values of a run's config with today's fields.

  Raises:
    ValueError: an old evaluation has no equal among today's sets.
  """
  evaluate = values.get("evaluate")
  if isinstance(evaluate, Mapping) and _has_old_metrics(evaluate):
    return {**values, "evaluate": _renamed(evaluate)}
  if not isinstance(evaluate, Mapping) or not set(_OLD) <= set(evaluate):
    return values
  retrieval, zero_shot = (evaluate[field] for field in _OLD)
  sources = list(values["data"]["sources"].values())
  if (retrieval or zero_shot) and len(sources) != 1:
    raise ValueError(
      "evaluate.retrieval and evaluate.zero_shot must be () in a run with"
      f" several sources, as sets read one source; got {retrieval!r} and"
      f" {zero_shot!r}"
    )
  sections = {}
  for name in retrieval:
    source = sources[0] | _UNUSED | {"split": name}
    sections[name] = kinds.retrieval(source, all_names=True)
  for name in zero_shot:
    sections[name] = sets.SETS[name](sources[0] | _UNUSED)
  kept = {name: value for name, value in evaluate.items() if name not in _OLD}
  return {**values, "evaluate": {**kept, "sets": sections}}


def _has_old_metrics(evaluate: Mapping[str, Any]) -> bool:
  return any(
    set(_METRICS) & set(section.get("metrics", ()))
    for section in evaluate.get("sets", {}).values()
  )


def _renamed(evaluate: Mapping[str, Any]) -> dict[str, Any]:
  """Return the section with today's names of metrics."""
  sets_now = {}
  for name, section in evaluate["sets"].items():
    metrics = [_METRICS.get(x, x) for x in section.get("metrics", ())]
    sets_now[name] = {**section, **({"metrics": metrics} if metrics else {})}
  return {**evaluate, "sets": sets_now}
