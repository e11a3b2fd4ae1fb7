"""Loss of a decoder that reads an image tower's tokens (LocCa, CapPa).

Each row has one target, or one of each task (data.regions.tasks): captions and
boxes as ids. Sources: SigLIP 2 (arXiv 2502.14786, section 2.2), LocCa (arXiv
2403.19596), CapPa (arXiv 2306.07915).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from input_pipeline.regions import box_tokens
from losses import vocabulary
from models import layers
from models.decoding import decoder as decoder_lib
from models.decoding import inputs as inputs_lib
from runtime import mesh as mesh_lib

_CAPTION = box_tokens.TASKS.index(box_tokens.CAPTION)
# Axes of the mesh, as configs/parts/decoding.py splits the vectors of words.
_AXES = vocabulary.Axes(mesh_lib.BATCH_AXES, words="tensor", width="fsdp")
# Random streams of a row: parallel prediction, dropout.
_PARALLEL, _DROPOUT = range(2)


class Targets(NamedTuple):
  """Targets of a batch, as data.regions makes them.

  Attributes:
    tokens: int32 [B, T, L], ids that the decoder reads: the task, then the
      targets but the last. T is 1, or the number of tasks.
    targets: int32 [B, T, L], ids that it predicts.
    weights: float32 [B, T, L], weights of their losses.
    tasks: int32 [B, T], indices of box_tokens.TASKS.
  """

  tokens: Any
  targets: Any
  weights: Any
  tasks: Any


def losses_of_rows(
  decoder: decoder_lib.Decoder,
  targets: Targets,
  image_bND: jax.Array,
  image_mask_bN: jax.Array | None,
  keys_b: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Return the sum of a row's weighted losses, and of its weights, float32 [b].

  Captions of images are predicted in parallel with the probability
  `parallel_share`; other tasks are causal. Images are read by all tasks of
  their row.

  Args:
    decoder: decoder to train.
    targets: targets of the rows.
    image_bND: the image tower's tokens before pooling.
    image_mask_bN: bool, False for padding of an image; None without any.
    keys_b: one random key a row; None draws nothing.
  """
  b, num_tasks, length = targets.tokens.shape

  def rows(x_bT: jax.Array) -> jax.Array:
    """Return [b * T, ...]."""
    return x_bT.reshape(b * num_tasks, *x_bT.shape[2:])

  def repeated(x_b: jax.Array) -> jax.Array:
    return x_b if num_tasks == 1 else jnp.repeat(x_b, num_tasks, axis=0)

  tokens_rL = rows(targets.tokens)
  parallel_r = dropout_r = None
  share = decoder.config.parallel_share
  if keys_b is not None:
    if share:
      drawn_b = inputs_lib.draw_parallel(
        layers.fold_in(keys_b, _PARALLEL), share
      )
      parallel_r = rows(drawn_b[:, None] & (targets.tasks == _CAPTION))
    if decoder.config.dropout:
      keys_b = layers.fold_in(keys_b, _DROPOUT)
      each = [layers.fold_in(keys_b, task) for task in range(num_tasks)]
      dropout_r = rows(jnp.stack(each, axis=1))
  if parallel_r is not None:
    # The task's id stays, in the first place.
    is_masked_rL = parallel_r[:, None] & (jnp.arange(length) > 0)
    tokens_rL = jnp.where(is_masked_rL, inputs_lib.MASK, tokens_rL)
  x_rLD = decoder.states(
    inputs_lib.Inputs(tokens_rL, parallel_r),
    repeated(image_bND),
    None if image_mask_bN is None else repeated(image_mask_bN),
    dropout_r,
  )
  table_VD, bias_V = decoder.vectors()
  weight_rL = rows(targets.weights)
  label_rL = jnp.where(weight_rL > 0, rows(targets.targets), vocabulary.IGNORED)
  loss_rL = vocabulary.cross_entropy(
    x_rLD, table_VD, label_rL, bias_V, axes=_AXES
  )
  total_b, weight_b = (
    jnp.sum(x_rL.reshape(b, -1), axis=1)
    for x_rL in (loss_rL * weight_rL, weight_rL)
  )
  return total_b, weight_b
