"""Losses of an image tower that learns from its own average.

The student's local views are to agree with the teacher's global view (SILC,
arXiv 2310.13355), and its masked patches with the teacher's patches in the same
places of the same view (TIPS, arXiv 2410.16512): SigLIP 2 (arXiv 2502.14786,
section 2.3). The teacher gets no gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from losses import distillation
from models import vit
from models.distilling import distillation_config, heads
from runtime import mesh as mesh_lib

# (sum of a row's losses, their number), float32 [b] each.
RowLosses = tuple[jax.Array, jax.Array]


class Teacher(NamedTuple):
  """The averages of image tower and heads."""

  img: vit.ViT
  heads: heads.Heads


class Views(NamedTuple):
  """Views of a batch, as data.views makes them.

  Attributes:
    whole: uint8 [B, Y, X, C], global views.
    local: uint8 [B, M, y, x, C], or None.
  """

  whole: Any
  local: Any = None


def losses_of_rows(
  config: distillation_config.DistillationConfig,
  student: Teacher,
  teacher: Teacher,
  views: Views,
  keys_b: jax.Array,
) -> tuple[dict[str, RowLosses], dict[str, Any]]:
  """Return the losses of rows by name, and the new centers.

  Args:
    config: section of the weights, at least one of them above 0.
    student: image tower and heads that learn.
    teacher: the same of the averages; its heads have the centers.
    views: views of the rows.
    keys_b: one random key a row.

  Returns:
    Names are "consistency" and "masked", those with a weight. Centers are in
    the nesting of the heads' running statistics.
  """
  embedding_bE, tokens_bND = jax.lax.stop_gradient(
    teacher.img.embedding_and_tokens(views.whole)
  )
  found: dict[str, RowLosses] = {}
  centers: dict[str, Any] = {}

  def compare(name: str, student_RD, teacher_RD, rows: int) -> RowLosses:
    """Return the losses of `rows` rows, R / rows vectors each."""
    learner = getattr(student.heads, name)
    expert = getattr(teacher.heads, name)
    center_K = expert.running_mean[...]
    vectors_RZ = jax.lax.stop_gradient(expert(teacher_RD))
    prototypes_ZK = jax.lax.stop_gradient(expert.prototypes())
    count = len(student_RD) // len(vectors_RZ)
    loss_R = distillation.cross_entropy(
      distillation.Side(
        learner(student_RD), learner.prototypes(), config.student_temperature
      ),
      distillation.Side(
        jnp.repeat(vectors_RZ, count, axis=0),
        prototypes_ZK,
        config.teacher_temperature,
      ),
      center_K,
      axes=mesh_lib.BATCH_AXES,
    )
    centers[name] = {
      "running_mean": distillation.new_center(
        center_K, vectors_RZ, prototypes_ZK, momentum=config.center_momentum
      )
    }
    loss_b = jnp.sum(loss_R.reshape(rows, -1), axis=1)
    return loss_b, jnp.full(rows, len(student_RD) / rows, jnp.float32)

  b = len(views.whole)
  if config.consistency_weight:
    local = views.local.reshape(-1, *views.local.shape[2:])
    local_RE, _ = student.img.embedding_and_tokens(local, any_size=True)
    found["consistency"] = compare("views", local_RE, embedding_bE, b)
  if config.masked_weight:
    num_patches = tokens_bND.shape[1]
    masked_bN = heads.draw_masks(keys_b, num_patches, config.mask_share)
    assert student.heads.mask is not None
    _, seen_bND = student.img.embedding_and_tokens(
      views.whole, masked_bN=masked_bN, mask_D=student.heads.mask[...]
    )
    num_masked = round(config.mask_share * num_patches)
    # Masked places first, in their order: as many of each image.
    place_bn1 = jnp.argsort(~masked_bN, axis=1, stable=True)[
      :, :num_masked, None
    ]
    seen_RD, tokens_RD = (
      jnp.take_along_axis(x_bND, place_bn1, axis=1).reshape(b * num_masked, -1)
      for x_bND in (seen_bND, tokens_bND)
    )
    found["masked"] = compare("patches", seen_RD, tokens_RD, b)
  return found, centers
