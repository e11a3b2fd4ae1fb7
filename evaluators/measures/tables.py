"""Main figures of measures, as rows of a table."""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from runtime import sections

# Measure -> figures of a table, as patterns of their paths in the record.
FIGURES: Mapping[str, tuple[str, ...]] = {
  "linear_probe": ("top_1", "mean_per_class"),
  "sgd_probe": ("macro_f1", "weighted_f1", "top_1"),
  "few_shot": ("*/top_1",),
  "episodes": ("*/top_1",),
  "tuned_episodes": ("*/top_1", "*/above_frozen"),
  "knn": ("top_1", "mean_per_class"),
  "calibration": ("ece_*", "nll_*", "temperature_*"),
  "geometry": ("modality_gap", "alignment", "uniformity_*"),
  "corruptions": ("*/clean", "*/mean_corrupted", "*/relative_to_clean"),
  "texts": ("clean/*", "by_kind/*"),
  "image_to_image": ("hit@*", "precision@*"),
}
# Groups of a measure's record that are no figures.
_BESIDE = ("intervals", "chance", "protocol", "bins")


class Row(NamedTuple):
  """A figure of a measure.

  Attributes:
    measure: key of MEASURES.
    figure: path of the figure in the measure's record.
    value: the figure.
    interval: [low, high], 95 %; None for a figure without one.
    chance: the figure of answers that do not look at the images, or None.
  """

  measure: str
  figure: str
  value: float
  interval: tuple[float, float] | None
  chance: float | None


def rows(record: Mapping[str, Any]) -> Iterator[Row]:
  """Yield the main figures of the measures of a set's record, in order."""
  for name, patterns in FIGURES.items():
    taken = record.get(name)
    if not isinstance(taken, Mapping) or "not_run" in taken:
      continue
    figures = {k: v for k, v in taken.items() if k not in _BESIDE}
    for path, value in sections.flat(figures, "/").items():
      if not isinstance(value, float):
        continue
      if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
        continue
      bounds = taken.get("intervals", {}).get(path)
      chance = taken.get("chance", {}).get(path.rpartition("/")[2])
      yield Row(name, path, value, bounds and tuple(bounds), chance)
