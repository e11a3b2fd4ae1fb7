"""DataComp's evaluation: 40 sets, of which 38 have a main metric, and means.

Keys, sizes, numbers of classes, main metrics and the scores of a random choice
are those of tasklist.yml in mlfoundations/datacomp (commit 4afedc4); groups of
the means those of aggregate_scores.py; fields of the group metadata those of
eval_utils/wilds_eval.py and fairness_eval.py. arXiv 2304.14108, appendix N.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

_DATA = pathlib.Path(__file__).parent / "data" / "datacomp.json"

# Keys of each mean; ObjectNet is the sixth of the shifts.
SHIFTS = (
  *("imagenet_sketch", "imagenetv2", "imagenet-a", "imagenet-o"),
  *("imagenet-r", "objectnet"),
)
VTAB = (
  *("vtab/caltech101", "vtab/cifar100", "vtab/clevr_count_all"),
  *("vtab/clevr_closest_object_distance", "vtab/dtd", "vtab/eurosat"),
  *("vtab/kitti_closest_vehicle_distance", "vtab/flowers", "vtab/pets"),
  *("vtab/pcam", "vtab/resisc45", "vtab/svhn", "sun397"),
)
RETRIEVAL = (
  "retrieval/flickr_1k_test_image_text_retrieval",
  "retrieval/mscoco_2014_5k_test_image_text_retrieval",
  "misc/winogavil",
)
_GROUPS = {
  "ImageNet": ("imagenet1k",),
  "ImageNet dist. shifts": SHIFTS,
  "VTAB": VTAB,
  "Retrieval": RETRIEVAL,
}
_ALL = "Average"
# Field of the group metadata that figures by group are taken over.
_GROUP_BY = {
  "wilds/iwildcam": "location",
  "wilds/camelyon17": "slide",
  "wilds/fmow": "region",
  "fairness/dollar_street": "income_ds",
  "fairness/geode": "region",
}
# Main metric -> its name in results.json. A worst group is the worst of those
# with an image. FMoW's region "Other" is among them: wilds_eval.py means to
# leave it out, but looks for a name where its groups have numbers, so that
# published figures are 0 for models with none of its few images right.
_FIGURES = {
  "acc1": "top_1",
  "mean_per_class_recall": "mean_per_class",
  "F1-macro_all": "macro_f1",
  "acc_worst_region": "worst_group_top_1",
  "acc_wg": "worst_group_top_1",
  "acc_top5_wg": "worst_group_top_5",
  "jaccard_score_10-12": "jaccard_score_10-12",
}


@dataclasses.dataclass(frozen=True)
class Task:
  """One of DataComp's sets.

  Attributes:
    key: DataComp's key.
    name: name in DataComp's results.
    size: number of images, of items for WinoGAViL.
    classes: number of classes, 0 for sets without classes.
    metric: name of the main metric in DataComp; "" for tables alone.
    chance: main metric of a random choice; None where DataComp has none.
    fields: columns of the group metadata, in the order of each .npy.
  """

  key: str
  name: str
  size: int
  classes: int
  metric: str
  chance: float | None
  fields: tuple[str, ...]

  @property
  def folder(self) -> str:
    """Folder of the set below DataComp's data folder.

    >>> tasks()["fairness/geode"].folder
    'wds_geode_test'
    """
    key = self.key.removeprefix("fairness/")
    return f"wds_{key.replace('/', '-')}_test"

  @property
  def group_by(self) -> str:
    """Field, of `fields`, that puts images into groups; "" for none."""
    return _GROUP_BY.get(self.key, "")

  @property
  def is_parquet(self) -> bool:
    """Whether DataComp reads it as a data set of the Hub, not as a folder."""
    return self.key.startswith(("retrieval/", "misc/"))

  @property
  def repository(self) -> str:
    """Data set on the Hugging Face Hub that DataComp downloads."""
    name = self.key.rpartition("/")[2]
    return f"nlphuji/{name}" if self.is_parquet else f"djghosh/{self.folder}"


@dataclasses.dataclass(frozen=True)
class Mean:
  """Mean of main metrics.

  Attributes:
    name: DataComp's name where all its sets are there, else another.
    value: plain mean.
    num_sets: sets in the mean.
    num_all: sets of DataComp's mean.
  """

  name: str
  value: float
  num_sets: int
  num_all: int


@functools.cache
def tasks() -> Mapping[str, Task]:
  """Return the 40 sets by key, in the order of DataComp's list."""
  rows: dict[str, dict[str, Any]] = json.loads(_DATA.read_text())
  return {
    key: Task(
      key=key,
      name=row["name"],
      size=row["size"],
      classes=row["classes"],
      metric=row["metric"],
      chance=row["chance"],
      fields=tuple(row["fields"]),
    )
    for key, row in rows.items()
  }


def main_tasks() -> dict[str, Task]:
  """Return the 38 sets that have a main metric, by key."""
  return {key: task for key, task in tasks().items() if task.metric}


def main_figure(task: Task, row: Mapping[str, Any]) -> float:
  """Return the main metric of a set's entry in results.json.

  For retrieval it is the mean of R@1 in both directions.

  Raises:
    KeyError: the entry lacks the figure, or the set has no main metric.

  >>> main_figure(tasks()["cars"], {"top_1": 0.9, "mean_per_class": 0.8})
  0.9
  """
  if task.metric == "mean_recall@1":
    return (row["image_to_text"]["R@1"] + row["text_to_image"]["R@1"]) / 2
  return row[_FIGURES[task.metric]]


def aggregate(
  figures: Mapping[str, float], unlike: Collection[str] = ()
) -> list[Mean]:
  """Return DataComp's means over the sets that were evaluated.

  A mean has DataComp's name only if all its sets are there and are the
  published ones; "Average" thus needs all 38. Otherwise its name says how many
  sets are in it, and it is not to be compared with a published figure.

  Args:
    figures: main metric of each set by key; other keys are ignored.
    unlike: keys of sets whose sizes or classes are not the published ones.

  Raises:
    ValueError: a figure is not finite.

  >>> [mean.name for mean in aggregate({"imagenet1k": 0.6, "sun397": 0.4})]
  ['ImageNet', 'VTAB, 1 of 13 sets', 'mean of 2 of 38 sets']
  """
  main = main_tasks()
  for key, value in figures.items():
    if key in main and not math.isfinite(value):
      raise ValueError(f"{key} must have a finite figure; got {value}")
  means = []
  for name, keys in (*_GROUPS.items(), (_ALL, tuple(main))):
    present = [key for key in keys if key in figures]
    if not present:
      continue
    changed = sum(key in unlike for key in present)
    if len(present) < len(keys):
      shown = f"{len(present)} of {len(keys)} sets"
      name = f"mean of {shown}" if name == _ALL else f"{name}, {shown}"
    elif changed:
      name = f"mean of {len(keys)} sets" if name == _ALL else name
    if changed:
      name += f", {changed} of them unlike the published"
    value = math.fsum(figures[key] for key in present) / len(present)
    means.append(Mean(name, value, len(present), len(keys)))
  return means
