"""Assignment of boxes to anchors (ATSS, arXiv 1912.02424, section 3.2).

Each box takes the 9 anchors of each level whose centres are closest to its own
as candidates. Those are its positives whose IoU with it is at least the mean of
all candidates and their standard deviation, and whose centre is inside of it.
An anchor of several boxes belongs to that of the highest IoU.

Shape letters beside those of models/layers.py: A anchors of all levels, M boxes
of a picture, filled up to one number, T candidates.
"""

import dataclasses

import jax
import jax.numpy as jnp

from models.detecting import anchors as anchors_lib
from models.detecting import boxes

NUM_CANDIDATES = 9
# Least distance in pixels of a positive's centre from the sides of its box.
INSIDE = 0.01


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Assignment:
  """Boxes that the anchors of a picture are to find.

  Attributes:
    index_A: int32 box of each anchor, -1 for none.
    box_A4: that box; the anchor itself where there is none.
    centre_A: centerness of the anchor in its box, 0 where there is none.
  """

  index_A: jax.Array
  box_A4: jax.Array
  centre_A: jax.Array


def assign(
  anchors: anchors_lib.Anchors, box_M4: jax.Array, mask_M: jax.Array
) -> Assignment:
  """Return the assignment of one picture; can be traced and mapped.

  Args:
    anchors: anchors of the picture.
    box_M4: float32 boxes, M at least 1; those that fill up are finite.
    mask_M: bool, which of them are boxes.
  """
  anchor_A4 = jnp.asarray(anchors.box_A4)
  centre_A2 = jnp.asarray(anchors.centre_A2)
  iou_MA = boxes.iou(box_M4, anchor_A4)
  candidate_MT = _candidates(anchors, centre_A2, box_M4)
  iou_MT = jnp.take_along_axis(iou_MA, candidate_MT, axis=1)
  # The deviation of a sample, as PyTorch's.
  least_M = jnp.mean(iou_MT, axis=1) + jnp.std(iou_MT, axis=1, ddof=1)
  distance_MA4 = _distances(centre_A2[None], box_M4[:, None])
  inside_MA = jnp.min(distance_MA4, axis=-1) > INSIDE
  rows_M1 = jnp.arange(len(box_M4))[:, None]
  is_candidate_MA = (
    jnp.zeros(iou_MA.shape, bool).at[rows_M1, candidate_MT].set(True)
  )
  positive_MA = is_candidate_MA & inside_MA & mask_M[:, None]
  positive_MA &= iou_MA >= least_M[:, None]
  rank_MA = jnp.where(positive_MA, iou_MA, -1.0)
  best_A = jnp.argmax(rank_MA, axis=0).astype(jnp.int32)
  is_positive_A = jnp.any(positive_MA, axis=0)
  box_A4 = jnp.where(is_positive_A[:, None], box_M4[best_A], anchor_A4)
  return Assignment(
    jnp.where(is_positive_A, best_A, -1),
    box_A4,
    jnp.where(is_positive_A, centerness(centre_A2, box_A4), 0.0),
  )


def centerness(centre_A2: jax.Array, box_A4: jax.Array) -> jax.Array:
  """Return how central points are in their boxes, 0 at a side and 1 amid.

  It is the root of the product, over both axes, of the smaller over the larger
  distance to a side (FCOS, arXiv 1904.01355, equation 3).

  >>> centre = jnp.array([[1.0, 2.0]])
  >>> print(centerness(centre, jnp.array([[0.0, 0.0, 4.0, 4.0]])).round(4))
  [0.5774]
  """
  distance_A4 = jnp.maximum(_distances(centre_A2, box_A4), 0)
  low_A2, high_A2 = distance_A4[..., :2], distance_A4[..., 2:]
  tiny = jnp.finfo(jnp.float32).tiny
  ratio_A2 = jnp.minimum(low_A2, high_A2) / jnp.maximum(
    jnp.maximum(low_A2, high_A2), tiny
  )
  return jnp.sqrt(ratio_A2[..., 0] * ratio_A2[..., 1])


def _candidates(
  anchors: anchors_lib.Anchors, centre_A2: jax.Array, box_M4: jax.Array
) -> jax.Array:
  """Return each box's closest anchors of all levels: int32 [M, T]."""
  middle_M2 = (box_M4[:, :2] + box_M4[:, 2:]) / 2
  gap_MA2 = centre_A2[None] - middle_M2[:, None]
  squared_MA = jnp.sum(jnp.square(gap_MA2), axis=-1)
  parts = []
  for start, size in zip(
    anchors_lib.starts(anchors.sizes), anchors.sizes, strict=True
  ):
    near_Ma = -squared_MA[:, start : start + size]
    _, index_MT = jax.lax.top_k(near_Ma, min(NUM_CANDIDATES, size))
    parts.append(start + index_MT)
  return jnp.concatenate(parts, axis=1)


def _distances(centre_2: jax.Array, box_4: jax.Array) -> jax.Array:
  """Return distances of points to left, top, right and bottom, signed."""
  return jnp.concatenate(
    [centre_2 - box_4[..., :2], box_4[..., 2:] - centre_2], axis=-1
  )
