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
  """Return both directions by name; arguments are retrieval.evaluate's."""
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


def reported(direction: Direction, metrics: Sequence[str]) -> dict[str, Any]:
  """Return sizes, the figures that a set asks for, and their intervals."""
  bounds = direction.intervals()
  return {
    **{
      name: value
      for name, value in direction.figures().items()
      if name in metrics or name.startswith("num_")
    },
    "intervals": {name: bounds[name] for name in metrics if name in bounds},
  }
