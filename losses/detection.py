"""Losses of a detector of one stage, as ATSS and Dynamic Head add them up.

Focal loss over all positions, and over the positives the generalised IoU of the
boxes, weighted by centerness, and cross-entropy of the centerness.

Shape letters beside those of models/layers.py: A anchors of all levels, J
classes, M boxes of a picture, filled up to one number.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from losses import atss
from models.detecting import anchors as anchors_lib
from models.detecting import boxes, detector

ALPHA = 0.25
GAMMA = 2.0
BOX_WEIGHT = 2.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Losses:
  """Parts of the loss of a batch, float32 scalars, weighted.

  Attributes:
    focal: classes.
    box: generalised IoU.
    centre: centerness.
    num_positive: positions that have a box.
  """

  focal: jax.Array
  box: jax.Array
  centre: jax.Array
  num_positive: jax.Array

  @property
  def total(self) -> jax.Array:
    """Sum of the parts."""
    return self.focal + self.box + self.centre


def sigmoid_focal(
  logit: jax.Array,
  target: jax.Array,
  *,
  alpha: float = ALPHA,
  gamma: float = GAMMA,
) -> jax.Array:
  """Return the focal loss of each logit, of a shape.

  Cross-entropy times (1 - p)^gamma of the true side's probability p, times
  alpha for positives and 1 - alpha for negatives.

  Source: arXiv 1708.02002, equation 5.

  Args:
    logit: float32.
    target: 0 or 1, the same shape.
    alpha: share of the positives.
    gamma: power; 0 is cross-entropy.

  >>> print(sigmoid_focal(jnp.zeros(2), jnp.array([1.0, 0.0])).round(4))
  [0.0433 0.13  ]
  """
  entropy = optax.sigmoid_binary_cross_entropy(logit, target)
  probability = jax.nn.sigmoid(logit)
  wrong = probability + target - 2 * probability * target
  weight = alpha * target + (1 - alpha) * (1 - target)
  return weight * wrong**gamma * entropy


def losses(
  outputs: detector.Outputs,
  anchors: anchors_lib.Anchors,
  box_BM4: jax.Array,
  label_BM: jax.Array,
  mask_BM: jax.Array,
) -> Losses:
  """Return the loss of a batch in its parts.

  Classes and centerness are divided by the positives of the whole batch, boxes
  by the sum of their centerness; without any by 1.

  Args:
    outputs: outputs of the detector.
    anchors: anchors of its pictures.
    box_BM4: float32 boxes in pixels; those that fill up are finite.
    label_BM: int32 classes, below J.
    mask_BM: bool, which of them are boxes.
  """
  assign = functools.partial(atss.assign, anchors)
  found = jax.lax.stop_gradient(jax.vmap(assign)(box_BM4, mask_BM))
  positive_BA = found.index_A >= 0
  num_positive = jnp.sum(positive_BA).astype(jnp.float32)
  each = jnp.maximum(num_positive, 1)
  label_BA = jnp.take_along_axis(
    label_BM, jnp.maximum(found.index_A, 0), axis=1
  )
  label_BA = jnp.where(positive_BA, label_BA, -1)
  # A row of zeros for -1.
  target_BAJ = jax.nn.one_hot(label_BA, outputs.logit_bAJ.shape[-1])
  focal = jnp.sum(sigmoid_focal(outputs.logit_bAJ, target_BAJ)) / each
  guess_BA4 = boxes.decode(outputs.delta_bA4, jnp.asarray(anchors.box_A4))
  lost_BA = 1 - boxes.giou(guess_BA4, found.box_A4)
  weight = jnp.sum(found.centre_A)
  weight = jnp.where(weight > 0, weight, 1)
  box = BOX_WEIGHT * jnp.sum(lost_BA * found.centre_A) / weight
  entropy_BA = optax.sigmoid_binary_cross_entropy(
    outputs.centre_bA, found.centre_A
  )
  centre = jnp.sum(jnp.where(positive_BA, entropy_BA, 0)) / each
  return Losses(focal, box, centre, num_positive)
