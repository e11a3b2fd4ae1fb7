"""Evaluation results as rows, as a text table and as results.json."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from evaluators import pair_scores, retrieval, zero_shot
from evaluators.figures import group_figures, placed
from evaluators.measures import tables
from evaluators.metrics import (
  answering,
  denoising,
  dense,
  detection,
  fused_pretraining,
  generation,
  questions,
)
from runtime.storage import strict_json, whole_files

# Group of results.json with the image protocol and the tokenizer.
INPUTS = "inputs"
# Group of results.json with the figures of all zero-shot sets.
ZERO_SHOT = "zero_shot"
_OLD = {"mean_class_top_1": "mean_per_class"}
_DIRECTIONS = {
  "image_to_text": "image to text",
  "text_to_image": "text to image",
}


@dataclasses.dataclass(frozen=True)
class Figure:
  """One figure and its expectation by chance.

  Attributes:
    name: "R@1", "median_rank", "top_1", ...
    value: the figure.
    chance: what a random order or choice would have.
    interval: 95 % interval as (low, high); None in results of older versions.
  """

  name: str
  value: float
  chance: float
  interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Row:
  """The figures of one evaluation, or the reason why it was not run."""

  group: str  # "compositional", "unseen_concept", "zero_shot"
  label: str  # "image to text", "image to all names", "skin_tone"
  num_candidates: int
  figures: tuple[Figure, ...]
  not_run: str = ""


def rows(results: Mapping[str, Any]) -> list[Row]:
  """Return rows of the results of `suite.score`, in their order."""
  listed = []
  for group, tree in results.items():
    if group == INPUTS:
      continue
    if group == ZERO_SHOT:
      listed += [_zero_shot_row(name, task) for name, task in tree.items()]
      continue
    if tree.get("kind") == answering.KIND:
      listed += _answered_rows(group, tree)
      continue
    if tree.get("kind") == "classification":
      listed += _labelled_rows(group, tree)
      continue
    if tree.get("kind") == answering.ROUTING:
      num = tree["num_questions"]["routing"]
      listed.append(Row(group, "questions", num, _own_figures(tree)))
      continue
    if tree.get("kind") == denoising.KIND:
      listed.append(
        Row(group, "images", tree["num_images"], _own_figures(tree))
      )
      continue
    if tree.get("kind") == detection.KIND:
      num = tree["num_classes"]
      listed.append(Row(group, "boxes", num, _own_figures(tree)))
      continue
    if tree.get("kind") in dense.SIZES:
      num = tree[dense.SIZES[tree["kind"]]]
      label = f"{tree['kind']}, images"
      listed.append(Row(group, label, num, _own_figures(tree)))
      continue
    if tree.get("kind") == "selection":
      num = tree["num_items"]
      listed.append(Row(group, "items", num, _own_figures(tree)))
      continue
    if tree.get("kind") == questions.KIND:
      listed += _question_rows(group, tree)
      continue
    if tree.get("kind") in generation.SIZES:
      listed += _generation_rows(group, tree)
      continue
    if tree.get("kind") == fused_pretraining.KIND:
      listed.append(Row(group, "rows", tree["num_rows"], _own_figures(tree)))
      continue
    if tree.get("kind") == pair_scores.KIND:
      by_language = {"": tree} | {
        f", {language}": scores
        for language, scores in tree.get("languages", {}).items()
      }
      for end, scores in by_language.items():
        for name in pair_scores.NAMES:
          size, label = scores[name]["num_candidates"], name.replace("_", " ")
          row = Row(group, label + end, size, _own_figures(scores[name]))
          listed.append(row)
      continue
    if tree.get("kind") == "places":
      listed += [
        Row(group, way, tree[way]["num_candidates"], _own_figures(tree[way]))
        for way in placed.WAYS
      ]
      continue
    for direction, label in _DIRECTIONS.items():
      listed.append(_retrieval_row(group, label, tree, tree[direction]))
    if names := tree.get("all_names"):
      listed.append(_retrieval_row(group, "image to all names", tree, names))
    for language, scores in tree.get("languages", {}).items():
      for direction, label in _DIRECTIONS.items():
        listed.append(
          _retrieval_row(
            group, f"{label}, {language}", scores, scores[direction]
          )
        )
  return listed


def table(results: Mapping[str, Any]) -> str:
  """Render results as aligned text, chance in brackets beside each figure."""
  if not results:
    return ""
  lines: list[list[str]] = []
  header: tuple[str, ...] = ()
  group = ""
  for row in rows(results):
    names = tuple(title(figure.name) for figure in row.figures)
    if row.group != group or (names and names != header):
      group, header = row.group, names or header
      size = ["of"] if names else []
      lines += [[], [group.replace("_", " "), *size, *names]]
    if row.not_run:
      lines.append([f"  {row.label.replace('_', ' ')}: not run, {row.not_run}"])
      continue
    lines.append(
      [
        f"  {row.label.replace('_', ' ')}",
        f"{row.num_candidates:,}",
        *(f"{number(f)} ({number(f, chance=True)})" for f in row.figures),
      ]
    )
  lines = lines[1:]
  widths = [
    max(len(line[i]) for line in lines if len(line) > max(i, 1))
    for i in range(max(map(len, lines)))
  ]
  text = [
    "  ".join(
      cell.ljust(width) if i == 0 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(line, widths, strict=False))
    ).rstrip()
    for line in lines
  ]
  text += ["", "In brackets: chance."]
  for more in (
    group_figures.lines(results),
    _baseline_lines(results),
    _measure_lines(results),
  ):
    if listed := [*more]:
      text += ["", *listed]
  return "\n".join(text)


def measures(results: Mapping[str, Any]) -> dict[str, list[tables.Row]]:
  """Return the main figures of the measures of each set that has some."""
  sets = {k: v for k, v in results.items() if k not in (INPUTS, ZERO_SHOT)}
  every = sets | results.get(ZERO_SHOT, {})
  by_set = {name: [*tables.rows(record)] for name, record in every.items()}
  return {name: some for name, some in by_set.items() if some}


def _baseline_lines(results: Mapping[str, Any]) -> Iterator[str]:
  """Yield lines on the rules that boxes are compared with, for people."""
  for name, record in results.items():
    if not (some := record.get("baselines")):
      continue
    yield f"{name.replace('_', ' ')}: boxes without a decoder"
    for rule, figures in some.items():
      values = ", ".join(f"{title(k)} {x:.3f}" for k, x in figures.items())
      yield f"  {rule}: {values}"


def _measure_lines(results: Mapping[str, Any]) -> Iterator[str]:
  """Yield lines on the measures of all sets, for people."""
  for name, some in measures(results).items():
    yield f"{name.replace('_', ' ')}: measures"
    for row in some:
      line = f"  {row.measure}: {row.figure} {row.value:.3f}"
      if row.interval:
        line += f" ({row.interval[0]:.3f} to {row.interval[1]:.3f})"
      if row.chance is not None:
        line += f", chance {row.chance:.3f}"
      yield line


def number(figure: Figure, chance: bool = False) -> str:
  """Return a figure with its significant digits."""
  value = figure.chance if chance else figure.value
  if figure.name in ("median_rank", "mean_rank"):
    return f"{value:,.1f}".removesuffix(".0")
  return f"{value:.4f}" if chance and value < 0.001 else f"{value:.3f}"


def write_results(path: str | os.PathLike, results: Mapping[str, Any]) -> None:
  """Write results.json whole or not at all; see strict_json."""
  text = strict_json.dumps(results, indent=2)
  whole_files.write(path, f"{text}\n".encode())


def title(name: str) -> str:
  """Return a figure's name for people: "R@1", "median rank", "top-1"."""
  return name.replace("_", " ").replace("top ", "top-")


def _retrieval_row(
  group: str, label: str, tree: Mapping[str, Any], scores: Mapping[str, Any]
) -> Row:
  # Results of earlier versions have one size for both directions.
  size = scores.get("num_candidates", tree.get("num_candidates"))
  chance = retrieval.chance(size, scores.get("num_right", 1))
  return Row(group, label, size, _figures(scores, chance))


def _labelled_rows(group: str, record: Mapping[str, Any]) -> Iterator[Row]:
  size = record["num_classes"]
  yield Row(group, "classification", size, _own_figures(record))
  if gzsl := record.get("gzsl"):
    reason = gzsl.get("not_run", "")
    figures = () if reason else _own_figures(gzsl)
    # A group of its own, as rows of a group have the same figures.
    group = f"{group}_seen_and_unseen"
    yield Row(group, "among all classes", size, figures, reason)


def _own_figures(record: Mapping[str, Any]) -> tuple[Figure, ...]:
  """Return the figures of a record that states what chance would have."""
  # Chance of "group" is NaN for some shapes of items, which JSON has as null.
  expected = {
    k: v for k, v in record["chance"].items() if v is not None and v == v
  }
  return _figures(record, expected)


def _answered_rows(group: str, record: Mapping[str, Any]) -> Iterator[Row]:
  """Yield a row for all questions, closed and open ones, and the routing."""
  for name, size in record["num_questions"].items():
    bounds = record["intervals"][name]
    figure = Figure(
      *("exact_match", record[name], record["chance"][name]),
      interval=(bounds[0], bounds[1]),
    )
    yield Row(group, name, size, (figure,))


def _question_rows(group: str, record: Mapping[str, Any]) -> Iterator[Row]:
  """Yield a row for all questions and for those of each type."""
  for name, size in record["num_questions"].items():
    bounds = record["intervals"][name]
    value, chance = record[record["figure"]][name], record["chance"][name]
    figure = Figure(
      record["figure"], value, chance, interval=(bounds[0], bounds[1])
    )
    yield Row(group, name, size, (figure,))


def _generation_rows(group: str, record: Mapping[str, Any]) -> Iterator[Row]:
  """Yield a row for all examples and for those of each domain or split."""
  size = generation.SIZES[record["kind"]]
  for name, part in {"overall": record, **record.get("parts", {})}.items():
    reason = part.get("not_run", "")
    figures = () if reason else _own_figures(part)
    yield Row(group, name, part[size], figures, reason)


def _figures(
  scores: Mapping[str, Any], chance: Mapping[str, float]
) -> tuple[Figure, ...]:
  bounds = scores.get("intervals", {})
  return tuple(
    Figure(
      *(name, scores[name], expected),
      interval=(bounds[name][0], bounds[name][1]) if name in bounds else None,
    )
    for name, expected in chance.items()
    if name in scores
  )


def _zero_shot_row(name: str, scores: Mapping[str, Any]) -> Row:
  if "not_run" in scores:
    return Row("zero_shot", name, 0, (), scores["not_run"])
  size = scores["num_classes"]
  # Its name in results of earlier versions.
  scores = {_OLD.get(name, name): value for name, value in scores.items()}
  return Row("zero_shot", name, size, _figures(scores, zero_shot.chance(size)))
