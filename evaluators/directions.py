"""Retrieval in both directions on one set: ranks, figures and intervals.

Shape letters beside those of models/layers.py: N images, M texts, Q queries.
"""

import dataclasses
from collections.abc import Sequence
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
  """

  rank_Q: np.ndarray
  image_Q: np.ndarray
  sizes: dict[str, float]

  def figures(self) -> dict[str, float]:
    """Return sizes and `retrieval.metrics`."""
    return self.sizes | retrieval.metrics(self.rank_Q)

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
) -> dict[str, Direction]:
  """Return both directions by name; arguments are retrieval.evaluate's."""
  image_NK, text_M = retrieval.labels(texts, owners)
  rank_N, rank_M = retrieval.ranks_both(
    zimg_NE, ztxt_ME, label_N=image_NK, label_M=text_M, mesh=mesh
  )
  return {
    IMAGE_TO_TEXT: Direction(
      rank_N, np.arange(len(rank_N)), retrieval.sizes(image_NK, text_M)
    ),
    TEXT_TO_IMAGE: Direction(
      rank_M, np.asarray(owners), retrieval.sizes(text_M, image_NK)
    ),
  }


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
