"""Figures of a labelled set by the values of its attributes.

  groups     {attribute: [{name, n, mean, interval}, ...]}: top-1 accuracy of
             each value, with Wilson's interval
  gaps       {attribute: {gap, interval, best, worst, ...}}
  disparity  {attribute: {max_skew@k, ...}}: values of the k images nearest to a
             class's embedding, beside those of all images

Examples without a value are the group labels.NONE. It has its row in `groups`;
gaps and disparity are of the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import classification, group_gaps
from evaluators.metrics import groups as groups_lib
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib

# Classes of a record whose rankings are most skewed.
_NUM_CLASSES = 10
# Values of an attribute that a line names.
_NUM_NAMED = 8


def figures(
  opened: field_set.FieldSet,
  attributes: Mapping[str, Sequence[str]],
  right_N: np.ndarray,
  embeddings: tuple[np.ndarray, np.ndarray],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Return the parts of a set's record, and those of its details.

  Both are empty where the set has no attributes.

  Args:
    opened: the set.
    attributes: values of each example, of labels.Labels.
    right_N: whether each example is right at top-1.
    embeddings: zimg [N, E] and zclass [A, E].
  """
  record: dict[str, Any] = {}
  details: dict[str, Any] = {}
  for name, value_N in attributes.items():
    values, group_N = np.unique(np.asarray(value_N), return_inverse=True)
    table = groups_lib.by_group(right_N, group_N, values.tolist())
    gap = group_gaps.gap(table, (labels_lib.NONE,))
    num_none = int((np.asarray(value_N) == labels_lib.NONE).sum())
    record.setdefault("groups", {})[name] = table.rows()
    record.setdefault("gaps", {})[name] = gap | {
      "figure": "top_1",
      "method": group_gaps.METHOD,
      "num_without_value": num_none,
    }
    shown, every = _disparity(opened, np.asarray(value_N), embeddings)
    if shown:
      record.setdefault("disparity", {})[name] = shown
      details.setdefault("disparity_by_class", {})[name] = every
  return record, details


def _disparity(
  opened: field_set.FieldSet,
  value_N: np.ndarray,
  embeddings: tuple[np.ndarray, np.ndarray],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
  """Return the disparity at k of an attribute, and its rows of all classes."""
  zimg_NE, zclass_AE = embeddings
  is_in = value_N != labels_lib.NONE
  values, group_N = np.unique(value_N[is_in], return_inverse=True)
  if len(values) < 2:
    return {}, []
  k = min(opened.disparity_k, len(group_N))
  scores = classification.similarities(zimg_NE[is_in], zclass_AE)
  row_AK = group_gaps.top(scores, k)
  count_G = np.bincount(group_N)
  share_G = count_G / count_G.sum()
  by_class = group_gaps.disparity(group_N[row_AK], share_G)
  rows = [
    {"class": name, **group_gaps.rows(values.tolist(), by_class, a)}
    for a, name in enumerate(opened.classes)
  ]
  order = np.argsort(-np.asarray(by_class["max_skew"]), kind="stable")
  return {
    "k": k,
    "num_images": len(group_N),
    "num_classes": len(rows),
    **{
      f"{name}@{k}": float(np.mean(value))
      for name, value in by_class.items()
      if name != "shares"
    },
    "random": {f"max_skew@{k}": group_gaps.at_random(share_G, k, len(group_N))},
    "gallery": [
      {"name": str(value), "n": int(n), "share": float(share)}
      for value, n, share in zip(values, count_G, share_G, strict=True)
    ],
    "most_skewed": [rows[a] for a in order[:_NUM_CLASSES]],
  }, rows


def tables(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  """List the attributes of all sets, for pages.

  Each has set, attribute, groups, gap and disparity (None without one).
  """
  return [
    {
      "set": name,
      "attribute": attribute,
      "groups": rows,
      "gap": record["gaps"][attribute],
      "disparity": record.get("disparity", {}).get(attribute),
    }
    for name, record in results.items()
    if isinstance(record, Mapping) and "gaps" in record
    for attribute, rows in record["groups"].items()
  ]


def lines(results: Mapping[str, Any]) -> Iterator[str]:
  """Yield lines on the attributes of all sets, for people."""
  for table in tables(results):
    shown = ", ".join(
      f"{row['name']} {row['mean']:.3f} (n {row['n']:,},"
      f" {row['interval'][0]:.3f}-{row['interval'][1]:.3f})"
      for row in table["groups"][:_NUM_NAMED]
    )
    more = len(table["groups"]) - _NUM_NAMED
    yield (
      f"{table['set']} by {table['attribute']}: top-1 {shown}"
      f"{f', and {more} more' if more > 0 else ''}"
    )
    gap = table["gap"]
    if gap["gap"] is not None:
      low, high = gap["interval"]
      yield (
        f"  gap {gap['gap']:.3f} ({low:.3f}-{high:.3f}), best {gap['best']},"
        f" worst {gap['worst']}{_without(gap)}"
      )
    if disparity := table["disparity"]:
      k = disparity["k"]
      yield (
        f"  the {k} best images of a class: max skew"
        f" {disparity[f'max_skew@{k}']:.3f} (at random"
        f" {disparity['random'][f'max_skew@{k}']:.3f}), largest difference to"
        f" the share of all images {disparity[f'gap@{k}']:.3f}"
      )


def _without(gap: Mapping[str, Any]) -> str:
  num = gap["num_without_value"]
  return f", without {num:,} examples that have no value" if num else ""
