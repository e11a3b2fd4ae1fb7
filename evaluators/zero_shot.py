"""Zero-shot classification: classes named in words, templates ensembled.

A class embedding is the mean over templates of normalised text embeddings,
normalised again (CLIP, arXiv 2103.00020, section 3.1.4). An image belongs to
the class of the highest cosine similarity; ties count as in
evaluators/retrieval.py.

Shape letters beside those of models/layers.py: here N counts images, A
classes, T templates.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from evaluators import retrieval


@dataclasses.dataclass(frozen=True)
class Task:
  """A classification task over the examples of one split."""

  split: str
  language: str  # language of the prompts
  classes: tuple[str, ...]
  templates: tuple[str, ...]  # "{}" stands for the class
  # Class index of an example's key, or None for an example to leave out.
  label_fn: Callable[[str], int | None]

  def prompts(self) -> list[str]:
    """List every template of class 0, then of class 1, and so on."""
    return [
      template.format(name)
      for name in self.classes
      for template in self.templates
    ]


# Unicode's skin tone modifiers (UTS #51, section 2.4), lightest first.
_SKIN_TONES = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")

# Words that a skin tone follows in English emoji names; fixed by hand before
# any model was scored, covering people, roles, gestures and parts of the body.
_SKIN_TONE_BASES = (
  "person",
  "woman",
  "man",
  "child",
  "girl",
  "boy",
  "baby",
  "old man",
  "old woman",
  "woman teacher",
  "man farmer",
  "artist",
  "person walking",
  "woman running",
  "man dancing",
  "waving hand",
  "thumbs up",
  "raised hand",
  "clapping hands",
  "ear",
)


def skin_tone_label(key: str) -> int | None:
  """Return the skin tone of a drawing: 0 (light) to 4 (dark).

  `key` has the drawing's code points in hex joined by "-". A drawing without a
  tone, or with two different ones, has no label.

  >>> skin_tone_label("1F44B-1F3FF")
  4
  """
  tones = set(key.upper().split("-")) & set(_SKIN_TONES)
  return _SKIN_TONES.index(tones.pop()) if len(tones) == 1 else None


TASKS: Mapping[str, Task] = {
  "skin_tone": Task(
    split="compositional",
    language="en",
    classes=("light", "medium-light", "medium", "medium-dark", "dark"),
    templates=tuple(f"{base} {{}} skin tone" for base in _SKIN_TONE_BASES),
    label_fn=skin_tone_label,
  ),
}


def labels(task: Task, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """Return the rows that the task keeps and their class: int32 [N] each."""
  kept = [
    (row, label)
    for row, key in enumerate(keys)
    if (label := task.label_fn(key)) is not None
  ]
  if not kept:
    raise ValueError(
      f"no example of the {task.split} split belongs to one of the classes "
      f"{', '.join(task.classes)}"
    )
  row_N, label_N = np.array(kept, np.int32).T
  return row_N, label_N


def class_embeddings(ztxt_PE: np.ndarray, num_classes: int) -> np.ndarray:
  """Average the prompts of each class: float32 [A, E] of length 1.

  The P = A * T rows are normalised embeddings in the order of Task.prompts.

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

  "mean_class_top_1" is the mean over classes that have examples.

  >>> from runtime import mesh as mesh_lib
  >>> mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  >>> z = np.eye(3, dtype=np.float32)
  >>> evaluate(z[[0, 0, 1, 2]], z, np.array([0, 0, 0, 2]), mesh)["top_1"]
  0.75
  """
  num_classes = len(zclass_AE)
  rank_N = retrieval.ranks(
    zimg_NE,
    zclass_AE,
    label_Q=label_N,
    label_M=np.arange(num_classes),
    mesh=mesh,
  )
  hit_N = rank_N <= 1
  per_class = [hit_N[label_N == label].mean() for label in np.unique(label_N)]
  results: dict[str, float | int] = {
    "num_classes": num_classes,
    "num_examples": len(label_N),
    "top_1": float(hit_N.mean()),
    "mean_class_top_1": float(np.mean(per_class)),
  }
  if num_classes > 5:
    results["top_5"] = float(np.mean(rank_N <= 5))
  return results


def chance(num_classes: int) -> dict[str, float]:
  """Return the expected scores of a random choice among the classes.

  >>> chance(10)["top_5"]
  0.5
  """
  return {
    "top_1": 1 / num_classes,
    "mean_class_top_1": 1 / num_classes,
    "top_5": min(1.0, 5 / num_classes),
  }
