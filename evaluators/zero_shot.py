"""Zero-shot classification: classes named in words, templates ensembled.

A class embedding is the mean over templates of normalised text embeddings,
normalised again (CLIP, arXiv 2103.00020, section 3.1.4). An image belongs to
the class of the highest cosine similarity; ties count as in
evaluators/retrieval.py.

Shape letters beside those of models/layers.py: here N counts images, A
classes, T templates.
"""

import dataclasses
import hashlib
import typing
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from evaluators import retrieval
from evaluators.metrics import intervals
from evaluators.sets import videos
from input_pipeline import evaluation_split
from input_pipeline.sources import source_config
from runtime import checks

METRICS = ("top_1", "mean_per_class", "top_5")


def key_part(values: Sequence[str], key: str) -> int | None:
  """Return the only value's index among the "-"-separated parts of a key.

  Case is ignored. A key with no value, or with two different ones, has no
  label.

  >>> key_part(("1F3FB", "1F3FF"), "1f44b-1f3ff")
  1
  """
  parts = key.upper().split("-")
  labels = [i for i, value in enumerate(values) if value.upper() in parts]
  return labels[0] if len(labels) == 1 else None


# Rule -> function of (label_values, key of an example) that returns the
# class's index, or None for an example to leave out.
LABELS: Mapping[str, Callable[[Sequence[str], str], int | None]] = {
  "key_part": key_part,
}


@dataclasses.dataclass(frozen=True)
class ZeroShotConfig:
  """Section of an evaluation set for classification by prompts.

  Attributes:
    kind: selects this section's dataclass.
    source: images and their keys.
    language: language of the prompts; must be among data.languages.
    classes: names of the classes, as prompts have them.
    templates: prompts of a class, with {} in place of its name.
    label: rule that finds an example's class, a key of LABELS.
    label_values: value of each class for that rule.
    metrics: figures to report, of METRICS; top_5 needs more than 5 classes.
    video: views of videos, for a source of videos in place of images.
  """

  kind: typing.Literal["zero_shot"]
  source: source_config.SourceConfig
  language: str
  classes: tuple[str, ...]
  templates: tuple[str, ...]
  label: str
  label_values: tuple[str, ...]
  metrics: tuple[str, ...]
  video: videos.VideoConfig = videos.VideoConfig()

  @property
  def key(self) -> source_config.SourceConfig | videos.Videos:
    """Key of the examples."""
    return videos.key(self.source, self.video)

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    self.video.check(f"{field}.video")
    for name in ("classes", "templates", "metrics"):
      if not getattr(self, name):
        checks.refuse(f"{field}.{name} must have at least one item; got ()")
    for template in self.templates:
      if template.count("{}") != 1:
        checks.refuse(
          f"{field}.templates must each have one {{}}; got {template!r}"
        )
    checks.one_of(f"{field}.label", self.label, LABELS)
    if len(self.label_values) != len(self.classes):
      checks.refuse(
        f"{field}.label_values must have {len(self.classes)} items, one for "
        f"each class; got {len(self.label_values)}"
      )
    for metric in self.metrics:
      checks.one_of(f"{field}.metrics", metric, METRICS)

  def prompts(self) -> list[str]:
    """List every template of class 0, then of class 1, and so on."""
    return [
      template.format(name)
      for name in self.classes
      for template in self.templates
    ]

  def labels(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the examples with a class, and classes: int32 [N] each.

    Raises:
      ValueError: no example has a class.
    """
    label_fn = LABELS[self.label]
    kept = [
      (row, label)
      for row, key in enumerate(keys)
      if (label := label_fn(self.label_values, key)) is not None
    ]
    if not kept:
      raise ValueError(
        f"no example belongs to one of the classes {', '.join(self.classes)}"
      )
    row_N, label_N = np.array(kept, np.int32).T
    return row_N, label_N


def class_embeddings(ztxt_PE: np.ndarray, num_classes: int) -> np.ndarray:
  """Average the prompts of each class: float32 [A, E] of length 1.

  The P = A * T rows are normalised embeddings in the order of
  ZeroShotConfig.prompts.

  >>> class_embeddings(np.array([[1.0, 0.0], [0.0, 1.0]]), num_classes=1)
  array([[0.70710678, 0.70710678]])
  """
  mean_AE = ztxt_PE.reshape(num_classes, -1, ztxt_PE.shape[-1]).mean(axis=1)
  norm_A1 = np.linalg.norm(mean_AE, axis=-1, keepdims=True)
  return mean_AE / np.maximum(norm_A1, np.finfo(np.float32).tiny)


def evaluate(
  zimg_NE: np.ndarray,
  zclass_AE: np.ndarray,
  label_N: np.ndarray,
  mesh: jax.sharding.Mesh,
) -> dict[str, float | int]:
  """Score images against classes: top-1, per-class mean, top-5 if A > 5.

  "mean_per_class" is the mean over classes that have examples.

  >>> from runtime import mesh as mesh_lib
  >>> mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  >>> z = np.eye(3, dtype=np.float32)
  >>> evaluate(z[[0, 0, 1, 2]], z, np.array([0, 0, 0, 2]), mesh)["top_1"]
  0.75
  """
  rank_N = ranks(zimg_NE, zclass_AE, label_N, mesh)
  return figures(rank_N, label_N, len(zclass_AE))


def ranks(
  zimg_NE: np.ndarray,
  zclass_AE: np.ndarray,
  label_N: np.ndarray,
  mesh: jax.sharding.Mesh,
) -> np.ndarray:
  """Return the rank of each image's class among all: float64 [N]."""
  return retrieval.ranks(
    zimg_NE,
    zclass_AE,
    label_Q=label_N,
    label_M=np.arange(len(zclass_AE)),
    mesh=mesh,
  )


def figures(
  rank_N: np.ndarray, label_N: np.ndarray, num_classes: int
) -> dict[str, float | int]:
  """Return sizes and METRICS of the ranks of `ranks`."""
  hit_N = rank_N <= 1
  per_class = [hit_N[label_N == label].mean() for label in np.unique(label_N)]
  results: dict[str, float | int] = {
    "num_classes": num_classes,
    "num_examples": len(label_N),
    "top_1": float(hit_N.mean()),
    "mean_per_class": float(np.mean(per_class)),
  }
  if num_classes > 5:
    results["top_5"] = float(np.mean(rank_N <= 5))
  return results


def bounds(
  rank_N: np.ndarray, label_N: np.ndarray, num_classes: int
) -> dict[str, list[float]]:
  """Return the 95 % interval of each of METRICS, as [low, high]."""
  num, hit_N = len(rank_N), rank_N <= 1
  by_name = {
    "top_1": intervals.wilson(int(hit_N.sum()), num),
    "mean_per_class": intervals.stratified(hit_N.astype(float), label_N),
  }
  if num_classes > 5:
    by_name["top_5"] = intervals.wilson(int((rank_N <= 5).sum()), num)
  return {name: bound.tolist() for name, bound in by_name.items()}


def protocol(section: ZeroShotConfig) -> dict[str, object]:
  """Return the definitions of the figures on a set."""
  digest = hashlib.blake2b(repr(section.prompts()).encode(), digest_size=8)
  return {
    "metric_version": retrieval.METRIC_VERSION,
    "similarity": "cosine, float32",
    "ties": f"similarities within {retrieval.TIE:g}, at mid-rank",
    "classifier": (
      "mean of the normalised embeddings of a class's prompts, normalised"
    ),
    "prompts_digest": digest.hexdigest(),
    "num_templates": len(section.templates),
    "canonicalisation": "none",
  }


def chance(num_classes: int) -> dict[str, float]:
  """Return the expected scores of a random choice among the classes.

  >>> chance(10)["top_5"]
  0.5
  """
  return {
    "top_1": 1 / num_classes,
    "mean_per_class": 1 / num_classes,
    "top_5": min(1.0, 5 / num_classes),
  }
