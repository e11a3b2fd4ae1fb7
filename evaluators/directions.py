"""Retrieval in both directions on one set: ranks, figures and intervals.

Shape letters beside those of models/layers.py: N images, M texts, Q queries.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import retrieval
from evaluators.metrics import intervals

IMAGE_TO_TEXT, TEXT_TO_IMAGE = NAMES = ("image_to_text", "text_to_image")


@dataclasses.dataclass(frozen=True)
class Direction:
  """Outcome of one direction.

  Attributes:
    rank_Q: rank of each query's best right candidate.
    image_Q: image of each query, 0 to N - 1.
    sizes: num_candidates and num_right.
    true_recalls: figures of `retrieval.true_recalls`, {} where none is asked.
  """

  rank_Q: np.ndarray
  image_Q: np.ndarray
  sizes: dict[str, float]
  true_recalls: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def figures(self) -> dict[str, float]:
    """Return sizes, `retrieval.metrics` and the true recalls asked for."""
    return {
      **self.sizes,
      **retrieval.metrics(self.rank_Q),
      **self.true_recalls,
    }

  def intervals(self) -> dict[str, list[float]]:
    """Return [low, high] of each figure; captions of an image go together."""
    return intervals.of_ranks(self.rank_Q, self.image_Q, ks=retrieval.KS)

  def chance(self) -> dict[str, float]:
    """Return the figures of a random order."""
    return retrieval.chance(
      int(self.sizes["num_candidates"]), self.sizes["num_right"]
    )


def evaluate(
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  texts: Sequence[str],
  mesh: jax.sharding.Mesh,
  *,
  owners: Sequence[int],
  reweight: str = "",
  true_recall: bool = False,
) -> dict[str, dict[str, float]]:
  """Return the figures of both directions by name; arguments are `judge`'s.

  >>> from runtime import mesh as mesh_lib
  >>> mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  >>> z = np.eye(3, dtype=np.float32)
  >>> args = z[[0, 2, 1]], ["a", "b", "c"], mesh
  >>> evaluate(z, *args, owners=[0, 1, 2])["text_to_image"]["R@1"]
  0.3333333333333333
  """
  judged = judge(
    *(zimg_NE, ztxt_ME, texts, mesh),
    owners=owners,
    reweight=reweight,
    true_recall=true_recall,
  )
  return {name: direction.figures() for name, direction in judged.items()}


def judge(
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  texts: Sequence[str],
  mesh: jax.sharding.Mesh,
  *,
  owners: Sequence[int],
  reweight: str = "",
  true_recall: bool = False,
) -> dict[str, Direction]:
  """Score N images and their M captions in both directions.

  Row m of ztxt belongs to texts[m], a caption of image owners[m]. An image and
  a text are right for each other where the image has a caption of that wording.

  Args:
    zimg_NE: embeddings of the images.
    ztxt_ME: embeddings of the captions.
    texts: captions.
    mesh: devices that similarities are computed on.
    owners: image of each caption.
    reweight: re-weighting of similarities, of retrieval.REWEIGHTS.
    true_recall: whether to add `retrieval.true_recalls`; not with `reweight`.
  """
  if reweight and true_recall:
    raise ValueError(f"true_recall has no reweight; got {reweight!r}")
  image_NK, text_M = retrieval.labels(texts, owners)
  rank_N, rank_M = retrieval.ranks_both(
    zimg_NE,
    ztxt_ME,
    label_N=image_NK,
    label_M=text_M,
    mesh=mesh,
    reweight=reweight,
  )
  images, captions = (zimg_NE, image_NK), (ztxt_ME, text_M)
  judged = {}
  for name, rank_Q, image_Q, queries, candidates in (
    (IMAGE_TO_TEXT, rank_N, np.arange(len(rank_N)), images, captions),
    (TEXT_TO_IMAGE, rank_M, np.asarray(owners), captions, images),
  ):
    true = {}
    if true_recall:
      ranks = retrieval.right_ranks(
        queries[0],
        candidates[0],
        label_Q=queries[1],
        label_M=candidates[1],
        mesh=mesh,
      )
      true = retrieval.true_recalls(*ranks)
    sizes = retrieval.sizes(queries[1], candidates[1])
    judged[name] = Direction(rank_Q, image_Q, sizes, true)
  return judged


def reported(
  direction: Direction, metrics: Sequence[str], *, with_chance: bool = False
) -> dict[str, Any]:
  """Return sizes, the figures that a set asks for, and their intervals.

  Args:
    direction: outcome of one direction.
    metrics: names of the figures.
    with_chance: whether chance of each figure is in the record too.
  """
  bounds, chance = direction.intervals(), direction.chance()
  made: dict[str, Any] = {
    **{
      name: value
      for name, value in direction.figures().items()
      if name in metrics or name.startswith("num_")
    },
    "intervals": {name: bounds[name] for name in metrics if name in bounds},
  }
  if with_chance:
    made["chance"] = {name: chance[name] for name in metrics}
  return made
