"""Tables of results on sets, as Markdown and as one line a set."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluators.measures import tables

# Figures of a table, in its order.
FIGURES = (
  *("top_1", "top_5", "mean_per_class", "macro_f1", "mean_ap"),
  *("R@1", "R@5", "R@10", "median_rank", "text", "image", "group", "accuracy"),
  *(
    "avg_jaccard_score",
    "jaccard_score_10-12",
    "worst_group_top_1",
    "worst_group_top_5",
  ),
)
_DIRECTIONS = ("image_to_text", "text_to_image")


def markdown(results: Mapping[str, Any]) -> str:
  """Return tables of the records and means of a results.json.

  A figure has its 95 % interval, and chance, beside it.
  """
  lines = ["| set | figure | value | 95 % interval | chance | of |"]
  lines += ["|---|---|---|---|---|---|"]
  for name, record in results.items():
    if not (isinstance(record, Mapping) and "kind" in record):
      continue
    for label, part in parts(record):
      size = part.get("num_candidates", record.get("num_classes", ""))
      for figure in [x for x in FIGURES if isinstance(part.get(x), float)]:
        bounds = part.get("intervals", {}).get(figure)
        chance = part.get("chance", {}).get(figure)
        lines.append(
          f"| {name} | {label}{figure} | {number(part[figure])} |"
          f" {' to '.join(map(number, bounds)) if bounds else ''} |"
          f" {'' if chance is None else number(chance)} | {size} |"
        )
    for row in tables.rows(record):
      lines.append(
        f"| {name} | {row.measure}: {row.figure} | {row.value:.3f} |"
        f" {' to '.join(f'{x:.3f}' for x in row.interval or ())} |"
        f" {'' if row.chance is None else f'{row.chance:.3f}'} | |"
      )
  means = results.get("means", ())
  if means:
    lines += ["", "| mean of main metrics | value | sets |", "|---|---|---|"]
  for mean in means:
    lines.append(
      f"| {mean['name']} | {number(mean['value'])} |"
      f" {mean['num_sets']} of {mean['num_all']} |"
    )
  model = results.get("model", {})
  if model:
    lines += ["", f"Model: {model['path']} ({model['digest'][:12]})"]
  return "\n".join(lines) + "\n"


def line(record: Mapping[str, Any]) -> str:
  """Return the first figures of a record as a phrase."""
  shown = []
  for label, part in parts(record):
    figures = [x for x in FIGURES if isinstance(part.get(x), float)]
    shown += [f"{label}{x} {number(part[x])}" for x in figures[:3]]
  return ", ".join(shown) or "tables alone"


def number(value: float) -> str:
  """Return a figure with three digits behind the point."""
  return f"{value:,.1f}" if abs(value) > 1 else f"{value:.3f}"


def parts(
  record: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yield the parts of a record that have figures, and their labels."""
  trees = record.get("languages", {"": record})
  if not all(direction in trees[x] for x in trees for direction in _DIRECTIONS):
    yield "", record
    return
  for language, tree in trees.items():
    prefix = f"{language}: " if language else ""
    for direction in _DIRECTIONS:
      yield f"{prefix}{direction.replace('_', ' ')} ", tree[direction]
