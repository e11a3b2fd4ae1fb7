"""Boxes of a detector's outputs, in fixed shapes.

Constants are ATSS's, as in Dynamic Head's released code: positions whose class
has a probability above 0.05, the best 1,000 of each level by the product of
that probability and the centerness, suppression at an IoU of 0.6. A score is
the square root of that product, and a picture keeps its 100 best boxes, as COCO
counts them.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from models.detecting import anchors as anchors_lib
from models.detecting import boxes, detector

SCORE_THRESHOLD = 0.05
NUM_BEFORE = 1000
NMS_THRESHOLD = 0.6
NUM_KEPT = 100


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detections:
  """Boxes found in pictures, best first, filled up with scores of 0.

  Attributes:
    box_bM4: float32, in pixels of the network's picture.
    score_bM: float32 in [0, 1]; 0 where there is no box.
    label_bM: int32 class.
  """

  box_bM4: jax.Array
  score_bM: jax.Array
  label_bM: jax.Array


def decode(
  outputs: detector.Outputs,
  anchors: anchors_lib.Anchors,
  height: int,
  width: int,
  *,
  num_kept: int = NUM_KEPT,
) -> Detections:
  """Return the boxes of a batch; can be traced.

  Args:
    outputs: outputs of the detector.
    anchors: anchors of its pictures.
    height: height of the pictures in pixels; boxes are cut off there.
    width: width of the pictures.
    num_kept: M, boxes of a picture.
  """
  centre_bA1 = jax.nn.sigmoid(outputs.centre_bA)[..., None]
  probability_bAJ = jax.nn.sigmoid(outputs.logit_bAJ)
  score_bAJ = jnp.where(
    probability_bAJ > SCORE_THRESHOLD,
    jnp.sqrt(probability_bAJ * centre_bA1),
    -jnp.inf,
  )
  box_bA4 = boxes.decode(outputs.delta_bA4, jnp.asarray(anchors.box_A4))
  box_bA4 = boxes.clip(box_bA4, height, width)

  def one(box_A4: jax.Array, score_AJ: jax.Array) -> Detections:
    box_K4, score_K, label_K = _best(box_A4, score_AJ, anchors.sizes)
    # A box of no area was cut off entirely.
    score_K = jnp.where(boxes.area(box_K4) > 0, score_K, -jnp.inf)
    keep_K = boxes.suppressed(box_K4, score_K, NMS_THRESHOLD, label_K)
    score_K = jnp.where(keep_K, score_K, -jnp.inf)
    most = min(num_kept, len(score_K))
    score_M, index_M = jax.lax.top_k(score_K, most)
    fill = num_kept - most
    score_M = jnp.pad(jnp.maximum(score_M, 0), (0, fill))
    box_M4 = jnp.pad(box_K4[index_M], ((0, fill), (0, 0)))
    label_M = jnp.pad(label_K[index_M], (0, fill))
    is_box_M = score_M > 0
    return Detections(
      jnp.where(is_box_M[:, None], box_M4, 0),
      score_M,
      jnp.where(is_box_M, label_M, 0),
    )

  return jax.lax.map(lambda row: one(*row), (box_bA4, score_bAJ))


def _best(
  box_A4: jax.Array, score_AJ: jax.Array, sizes: Sequence[int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Return boxes, scores and classes of the best of each level."""
  parts = []
  num_classes = score_AJ.shape[1]
  starts = anchors_lib.starts(sizes)
  for start, size in zip(starts, sizes, strict=True):
    score_N = score_AJ[start : start + size].reshape(-1)
    score_K, index_K = jax.lax.top_k(score_N, min(NUM_BEFORE, len(score_N)))
    place_K = start + index_K // num_classes
    parts.append((box_A4[place_K], score_K, index_K % num_classes))
  box_K4, score_K, label_K = map(jnp.concatenate, zip(*parts, strict=True))
  return box_K4, score_K, label_K.astype(jnp.int32)
