"""Boxes as arrays: overlap, their form as deltas of anchors, suppression.

A box is (left, top, right, bottom) in pixels of the picture that a network
gets, a point of the plane in each number: a box of one pixel at the origin is
(0, 0, 1, 1). Arrays of boxes end in an axis of 4.

Shape letters beside those of models/layers.py: A anchors of all levels, M boxes
of a picture, filled up to one number for all pictures, J classes.
"""

import math

import jax
import jax.numpy as jnp

# Factors of the deltas (dx, dy, dw, dh): ATSS's, as in Faster R-CNN.
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Largest logarithm of a side over its anchor's, so that exp stays finite: that
# of Faster R-CNN's code.
_MOST_LOG = math.log(1000 / 16)


def area(box_4: jax.Array) -> jax.Array:
  """Return the areas of boxes [..., 4], 0 for a box turned inside out."""
  side_2 = jnp.maximum(box_4[..., 2:] - box_4[..., :2], 0)
  return side_2[..., 0] * side_2[..., 1]


def iou(box_A4: jax.Array, box_M4: jax.Array) -> jax.Array:
  """Return the overlap of each pair over its union: [A, M] in [0, 1].

  Two boxes without area have 0.

  >>> box = jnp.array([[0.0, 0.0, 2.0, 2.0]])
  >>> print(iou(box, jnp.array([[1.0, 0.0, 3.0, 2.0]])).round(4))
  [[0.3333]]
  """
  low_AM2 = jnp.maximum(box_A4[:, None, :2], box_M4[None, :, :2])
  high_AM2 = jnp.minimum(box_A4[:, None, 2:], box_M4[None, :, 2:])
  inside_AM = area(jnp.concatenate([low_AM2, high_AM2], axis=-1))
  union_AM = area(box_A4)[:, None] + area(box_M4)[None] - inside_AM
  return inside_AM / jnp.maximum(union_AM, jnp.finfo(jnp.float32).tiny)


def giou(box_4: jax.Array, target_4: jax.Array) -> jax.Array:
  """Return the generalised IoU of boxes and their targets: [...] in [-1, 1].

  The share of the enclosing box that neither covers is taken from the IoU, so
  that boxes apart have a gradient towards each other.

  Source: arXiv 1902.09630, algorithm 1.

  Args:
    box_4: float32 [..., 4].
    target_4: the same shape, each of some area.

  >>> pair = jnp.array([[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0]])
  >>> print(giou(pair[0], pair[1]).round(4))
  -0.3333
  """
  tiny = jnp.finfo(jnp.float32).tiny
  low_2 = jnp.maximum(box_4[..., :2], target_4[..., :2])
  high_2 = jnp.minimum(box_4[..., 2:], target_4[..., 2:])
  inside = area(jnp.concatenate([low_2, high_2], axis=-1))
  union = jnp.maximum(area(box_4) + area(target_4) - inside, tiny)
  low_2 = jnp.minimum(box_4[..., :2], target_4[..., :2])
  high_2 = jnp.maximum(box_4[..., 2:], target_4[..., 2:])
  around = area(jnp.concatenate([low_2, high_2], axis=-1))
  around = jnp.maximum(around, tiny)
  return inside / union - (around - union) / around


def encode(box_4: jax.Array, anchor_4: jax.Array) -> jax.Array:
  """Return boxes as deltas of their anchors, times DELTA_WEIGHTS.

  They are the shift of the centre in sides of the anchor, and the logarithms
  of the sides over the anchor's. Each box needs some area.
  """
  centre_2, side_2 = _centre_and_side(box_4)
  from_2, by_2 = _centre_and_side(anchor_4)
  delta_4 = jnp.concatenate(
    [(centre_2 - from_2) / by_2, jnp.log(side_2 / by_2)], axis=-1
  )
  return delta_4 * jnp.asarray(DELTA_WEIGHTS)


def decode(delta_4: jax.Array, anchor_4: jax.Array) -> jax.Array:
  """Return the boxes of `encode`'s deltas, their sides limited."""
  delta_4 = delta_4 / jnp.asarray(DELTA_WEIGHTS)
  from_2, by_2 = _centre_and_side(anchor_4)
  centre_2 = from_2 + delta_4[..., :2] * by_2
  half_2 = by_2 * jnp.exp(jnp.minimum(delta_4[..., 2:], _MOST_LOG)) / 2
  return jnp.concatenate([centre_2 - half_2, centre_2 + half_2], axis=-1)


def clip(box_4: jax.Array, height: float, width: float) -> jax.Array:
  """Return the parts of boxes that are inside of a picture."""
  return jnp.clip(box_4, 0, jnp.asarray([width, height, width, height]))


def suppressed(
  box_A4: jax.Array,
  score_A: jax.Array,
  threshold: float,
  label_A: jax.Array | None = None,
) -> jax.Array:
  """Return which boxes remain of those that overlap: bool [A].

  The box of the highest score remains, all that overlap it by more than the
  threshold go, and so on with the rest (non-maximum suppression); of equal
  scores the first comes first. Scores of -inf are no boxes.

  Args:
    box_A4: float32 boxes.
    score_A: float32 scores.
    threshold: highest IoU of two boxes that both remain.
    label_A: int32 classes; only boxes of one class suppress each other. None
      is one class for all.

  >>> box = jnp.array([[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]])
  >>> suppressed(box, jnp.array([0.5, 0.9, 0.1]), 0.6).tolist()
  [False, True, True]
  """
  order_A = jnp.argsort(-score_A, stable=True)
  box_A4 = box_A4[order_A]
  over_AA = iou(box_A4, box_A4) > threshold
  if label_A is not None:
    label_A = label_A[order_A]
    over_AA &= label_A[:, None] == label_A[None]
  index_A = jnp.arange(len(box_A4))

  def settle(i: jax.Array, keep_A: jax.Array) -> jax.Array:
    later_A = over_AA[i] & (index_A > i)
    return jnp.where(keep_A[i], keep_A & ~later_A, keep_A)

  keep_A = score_A[order_A] > -jnp.inf
  keep_A = jax.lax.fori_loop(0, len(box_A4), settle, keep_A)
  return jnp.zeros_like(keep_A).at[order_A].set(keep_A)


def _centre_and_side(box_4: jax.Array) -> tuple[jax.Array, jax.Array]:
  low_2, high_2 = box_4[..., :2], box_4[..., 2:]
  return (low_2 + high_2) / 2, high_2 - low_2
