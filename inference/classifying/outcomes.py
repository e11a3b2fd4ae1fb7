"""Outcomes where labels are known: counts, and the figures that follow.

A picture without a label (null or "") is left out and counted. Shares have
Wilson's intervals of 95 %.
"""

import collections
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import classification, intervals

# Rows and columns of a confusion table that is printed, and rows of a list.
_MOST_PRINTED = 10
_MOST_LISTED = 20
_WIDTH = 14


class Outcomes:
  """Counts of true and of predicted labels; grows with the labels alone.

  Attributes:
    num: pictures with known labels.
    num_without: pictures without.
    unknown: times that each value was met that is no label.
  """

  def __init__(self, names: Sequence[str], *, is_multi: bool):
    self._names = names
    self._index = {name: a for a, name in enumerate(names)}
    self._is_multi = is_multi
    self._pairs: collections.Counter[tuple[int, int | None]] = (
      collections.Counter()
    )
    self._n_A = np.zeros(len(names), np.int64)
    self._predicted_A = np.zeros(len(names), np.int64)
    self._right_A = np.zeros(len(names), np.int64)
    self.num = self.num_without = self.num_abstained = 0
    self.unknown: collections.Counter[str] = collections.Counter()

  def add(
    self, truth: Collection[str] | None, predicted: Collection[str]
  ) -> None:
    """Count a picture.

    Args:
      truth: its labels; None for a picture whose labels are not known.
      predicted: labels that it was given.
    """
    if truth is None:
      self.num_without += 1
      return
    known = {self._index[x] for x in truth if x in self._index}
    others = [x for x in truth if x not in self._index]
    self.unknown.update(others)
    if others and not self._is_multi:
      return
    given = {self._index[x] for x in predicted}
    self.num += 1
    self.num_abstained += not given
    for counts_A, some in (
      (self._n_A, known),
      (self._predicted_A, given),
      (self._right_A, known & given),
    ):
      counts_A[list(some)] += 1
    if not self._is_multi:
      self._pairs[next(iter(known)), next(iter(given), None)] += 1

  def results(self) -> dict[str, Any]:
    """Return figures as values for JSON.

    Returns:
      num_pictures, num_without_label, num_unknown_label and their names,
      num_abstained; with one label a picture: accuracy (an abstention is not
      right), accuracy_of_answers, and confusion: [label, predicted, count] of
      each pair that occurs, null for an abstention. mean_recall and macro_f1
      are of the labels that occur; per_label has also those that were only
      predicted.
    """
    n_A, predicted_A, right_A = self._n_A, self._predicted_A, self._right_A
    results: dict[str, Any] = {
      "num_pictures": self.num,
      "num_without_label": self.num_without,
      "num_unknown_label": self.unknown.total(),
      "unknown_labels": dict(self.unknown),
      "num_abstained": self.num_abstained,
    }
    if not self.num:
      return results
    right = int(right_A.sum())
    if not self._is_multi:
      results["accuracy"] = _share(right, self.num)
      results["accuracy_of_answers"] = _share(
        right, self.num - self.num_abstained
      )
    has_A = n_A > 0
    if has_A.any():
      recall_A = right_A[has_A] / n_A[has_A]
      results["mean_recall"] = float(recall_A.mean())
      results["macro_f1"] = float(
        classification.macro_f1(n_A, predicted_A, right_A)
      )
    results["per_label"] = [
      {
        "label": name,
        "num": n,
        "num_predicted": predicted,
        "num_right": hits,
        "recall": _share(hits, n),
        "precision": _share(hits, predicted),
        "f1": 2 * hits / (n + predicted),
      }
      for name, n, predicted, hits in zip(
        self._names,
        *(n_A.tolist(), predicted_A.tolist(), right_A.tolist()),
        strict=True,
      )
      if n or predicted
    ]
    if not self._is_multi:
      results["confusion"] = [
        [self._names[a], None if b is None else self._names[b], count]
        for (a, b), count in sorted(
          self._pairs.items(), key=lambda x: (x[0][0], x[0][1] is None, x[0][1])
        )
      ]
    return results


def table(results: dict[str, Any]) -> str:
  """Render results as text: a confusion table of few labels, and figures."""
  lines = []
  if results["num_without_label"]:
    lines.append(
      f"{results['num_without_label']:,} pictures without a true label are left"
      " out"
    )
  if results["num_unknown_label"]:
    lines.append(
      f"{results['num_unknown_label']:,} true labels are not among the labels,"
      f" and are counted apart: {', '.join(results['unknown_labels'])}"
    )
  if not results["num_pictures"]:
    return "\n".join([*lines, "No picture has a true label"])
  for name in ("accuracy", "accuracy_of_answers"):
    if name in results:
      figure, words = results[name], name.replace("_", " ")
      if name == "accuracy" or results["num_abstained"]:
        lines.append(f"{words}: {in_words(figure)}")
  lines += _matrix(results)
  shown = sorted(results["per_label"], key=lambda x: (x["f1"], -x["num"]))
  lines.append(f"{'label':{_WIDTH}}  {'pictures':>8}  recall, precision (95 %)")
  for row in shown[:_MOST_LISTED]:
    lines.append(
      f"{_cut(row['label'])}  {row['num']:8,}  {in_words(row['recall'])},"
      f" {in_words(row['precision'])}"
    )
  if len(shown) > _MOST_LISTED:
    lines.append(f"... and {len(shown) - _MOST_LISTED} labels of higher F1")
  return "\n".join(lines)


def in_words(figure: dict[str, Any]) -> str:
  """Return a share with its interval, "-" for one of nothing."""
  if figure["value"] is None:
    return "-"
  low, high = figure["interval"]
  return f"{figure['value']:.3f} [{low:.3f}, {high:.3f}] of {figure['of']:,}"


def _matrix(results: dict[str, Any]) -> list[str]:
  """Return the lines of a confusion table, none of too many labels."""
  pairs = results.get("confusion", [])
  names = [row["label"] for row in results["per_label"]]
  if not pairs or len(names) > _MOST_PRINTED:
    return []
  columns = [*names, None] if results["num_abstained"] else [*names]
  counts = {(a, b): count for a, b, count in pairs}
  heads = ["(none)" if x is None else x for x in columns]
  return [
    "true \\ predicted:",
    " " * _WIDTH + "".join(f" {_cut(x, 8):>8}" for x in heads),
    *(
      _cut(name) + "".join(f" {counts.get((name, x), 0):8,}" for x in columns)
      for name in names
    ),
  ]


def _cut(name: str, width: int = _WIDTH) -> str:
  cut = name if len(name) <= width else name[: width - 1] + "…"
  return f"{cut:{width}}"


def _share(part: int, whole: int) -> dict[str, Any]:
  """Return a share with its interval; of nothing it has no value."""
  return {
    "value": part / whole if whole else None,
    "interval": intervals.wilson(part, whole).tolist(),
    "of": whole,
  }
