"""Sections of evaluation sets with every field, by kind of evaluation."""

from collections.abc import Mapping
from typing import Any

# Figures of a retrieval set that names none.
RETRIEVAL_METRICS = ("R@1", "R@5", "R@10", "median_rank")


def retrieval(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a retrieval set; `fields` are changed.

  Fields: evaluators.retrieval.RetrievalConfig.
  """
  return {
    "kind": "retrieval",
    "source": dict(source),
    "all_names": False,
    "metrics": RETRIEVAL_METRICS,
    "reweight": "",
  } | fields


def classification(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a labelled set; `fields` are changed.

  The label has no default. Fields: evaluators.labelled.LabelledConfig.
  """
  return {
    "kind": "classification",
    "source": dict(source),
    "classes": "",
    "templates": "",
    "prompts": (),
    "attributes": (),
    "disparity_k": 10,
    "training": "",
  } | fields


def zero_shot(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a zero-shot set; `fields` are changed.

  The classes, their templates and the label rule have no default. Fields:
  evaluators.zero_shot.ZeroShotConfig.
  """
  return {
    "kind": "zero_shot",
    "source": dict(source),
    "language": "en",
    "metrics": ("top_1", "mean_per_class", "top_5"),
  } | fields
