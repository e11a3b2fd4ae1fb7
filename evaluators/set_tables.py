"""Tables of results on sets: Markdown, text, and one line a set."""

import fnmatch
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluators.figures import placed
from evaluators.measures import tables

# Figures of a table, in its order, as patterns of their names.
_FIGURES = (
  *("top_[0-9]*", "mean_per_class", "macro_f1", "weighted_f1", "mean_ap"),
  *("seen", "unseen", "harmonic_mean", "within_*_km", "median_error_km"),
  *("R@1", "R@5", "R@10", "median_rank", "text", "image", "group", "accuracy"),
  *(
    "avg_jaccard_score",
    "jaccard_score_10-12",
    "worst_group_top_1",
    "worst_group_top_5",
  ),
)
_DIRECTIONS = ("image_to_text", "text_to_image")


# Languages up to which each has rows of its own among the figures.
_FEW_LANGUAGES = 4


def markdown(results: Mapping[str, Any]) -> str:
  """Return tables of the records and means of a results.json.

  A figure has its 95 % interval, and chance, beside it.
  """
  lines = ["| set | figure | value | 95 % interval | chance | of |"]
  lines += ["|---|---|---|---|---|---|"]
  lines += [
    f"| {_cell(name)} | " + " | ".join(map(_cell, row)) + " |"
    for name, record in _records(results)
    for row in _rows(record)
  ]
  for name, record in _records(results):
    if table := languages(record):
      header, *rows = table
      lines += ["", f"{_cell(name)} by language:", ""]
      lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
      lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
  means = results.get("means", ())
  if means:
    lines += ["", "| mean of main metrics | value | sets |", "|---|---|---|"]
  lines += [f"| {' | '.join(_mean(mean))} |" for mean in means]
  model = results.get("model", {})
  if model:
    lines += ["", f"Model: {model['path']} ({model['digest'][:12]})"]
  return "\n".join(lines) + "\n"


def text(results: Mapping[str, Any]) -> str:
  """Return the tables of `markdown` as aligned text, for a terminal.

  A set's name has a line of its own, so that long ones move no column.
  """
  rows = {name: [*_rows(record)] for name, record in _records(results)}
  table = [("", "value", "95 % interval", "chance", "of")]
  for name, some in rows.items():
    table += [(), (name,), *(("  " + row[0], *row[1:]) for row in some)]
  lines = _aligned(table)
  for name, record in _records(results):
    if by_language := languages(record):
      lines += ["", f"{name} by language", *_aligned(by_language)]
  means = results.get("means", ())
  if means:
    head = ("mean of main metrics", "value", "sets")
    lines += ["", *_aligned([head, *map(_mean, means)])]
  model = results.get("model", {})
  if model:
    lines += ["", f"Model: {model['path']} ({model['digest'][:12]})"]
  return "\n".join(lines) + "\n"


def line(record: Mapping[str, Any]) -> str:
  """Return the first figures of a record as a phrase."""
  shown = []
  for label, part in parts(record):
    shown += [f"{label}{x} {number(part[x])}" for x in figures(part)[:3]]
  return ", ".join(shown) or "tables alone"


def figures(part: Mapping[str, Any]) -> list[str]:
  """Return the names of the figures of a part of a record, in their order.

  >>> figures({"macro_f1": 0.5, "top_1": 0.6, "num_classes": 3})
  ['top_1', 'macro_f1']
  """
  return [
    name
    for pattern in _FIGURES
    for name, value in part.items()
    if isinstance(value, float) and fnmatch.fnmatchcase(name, pattern)
  ]


def is_share(figure: str) -> bool:
  """Return whether a figure is from 0 to 1, and not a rank or a distance."""
  return not figure.endswith("rank") and not figure.startswith("median")


def languages(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
  """Return a table of the figures by language, its header first.

  It is empty for a set of so few languages that `parts` has each.
  """
  trees = record.get("languages", {})
  if len(trees) <= _FEW_LANGUAGES:
    return []
  shown = ("R@1", "R@5", "R@10")
  rows: list[tuple[str, ...]] = [
    (
      *("language", "images", "texts"),
      *("to text R@1", *shown[1:], "to image R@1", *shown[1:]),
    )
  ]
  for language, tree in trees.items():
    row = [language, f"{tree['num_candidates']:,}", f"{tree['num_texts']:,}"]
    for way in _DIRECTIONS:
      bounds = tree[way].get("intervals", {}).get("R@1")
      row += [number(tree[way][x]) for x in shown]
      if bounds:
        row[-len(shown)] += f" ({'–'.join(map(number, bounds))})"
    rows.append(tuple(row))
  return rows


def number(value: float) -> str:
  """Return a figure with three digits behind the point."""
  return f"{value:,.1f}" if abs(value) > 1 else f"{value:.3f}"


def figure_number(figure: str, value: float) -> str:
  """Return a figure's value; ranks have one digit behind the point.

  >>> figure_number("median_rank", 1.0), figure_number("R@1", 1.0)
  ('1.0', '1.000')
  """
  return f"{value:,.1f}" if figure.endswith("rank") else number(value)


def parts(
  record: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yield the parts of a record that have figures, and their labels."""
  if record.get("kind") == "places":
    for way in placed.WAYS:
      yield f"{way} ", record[way]
    return
  trees = record.get("languages", {"": record})
  if not all(direction in trees[x] for x in trees for direction in _DIRECTIONS):
    yield "", record
    if gzsl := record.get("gzsl"):
      yield "of seen and unseen classes ", gzsl
    return
  if means := record.get("mean_of_languages"):
    for direction in _DIRECTIONS:
      figures = {
        path.rpartition("/")[2]: value
        for path, value in means.items()
        if path.startswith(f"{direction}/")
      }
      words = direction.replace("_", " ")
      yield f"mean of {len(trees)} languages: {words} ", figures
  if len(trees) > _FEW_LANGUAGES:
    return
  for language, tree in trees.items():
    prefix = f"{language}: " if language else ""
    for direction in _DIRECTIONS:
      yield f"{prefix}{direction.replace('_', ' ')} ", tree[direction]


def _records(
  results: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yield the records of sets, by name."""
  for name, record in results.items():
    if isinstance(record, Mapping) and "kind" in record:
      yield name, record


def _rows(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
  """Yield figure, value, interval, chance and size, for each figure."""
  for label, part in parts(record):
    size = part.get("num_candidates", record.get("num_classes"))
    for figure in figures(part):
      written = functools.partial(figure_number, figure)
      bounds = part.get("intervals", {}).get(figure)
      chance = part.get("chance", {}).get(figure)
      yield (
        f"{label}{figure}",
        written(part[figure]),
        " to ".join(map(written, bounds)) if bounds else "",
        "" if chance is None else written(chance),
        "" if size is None else f"{size:,}",
      )
  for row in tables.rows(record):
    yield (
      f"{row.measure}: {row.figure}",
      f"{row.value:.3f}",
      " to ".join(f"{x:.3f}" for x in row.interval or ()),
      "" if row.chance is None else f"{row.chance:.3f}",
      "",
    )


def _mean(mean: Mapping[str, Any]) -> tuple[str, ...]:
  counts = f"{mean['num_sets']} of {mean['num_all']}"
  return mean["name"], number(mean["value"]), counts


def _cell(value: str) -> str:
  """Return a text that ends no cell of a Markdown table."""
  return " ".join(value.split()).replace("|", "\\|")


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
  """Return lines; a row of one item has no say in the widths."""
  widths = [
    max(len(row[i]) for row in table if len(row) > max(i, 1))
    for i in range(max(map(len, table)))
  ]
  return [
    "  ".join(
      cell.ljust(width) if i == 0 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=False))
    ).rstrip()
    for row in table
  ]
