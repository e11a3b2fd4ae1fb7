"""Pairs: an image tower and a text tower, and a loss of their embeddings.

This is the objective of CLIP, SigLIP, ALIGN and UniCL, which differ in towers
and loss.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import losses
from models import batch_norm, dual_encoder, naflex
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import objective as objective_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows of image-text pairs, split over the mesh's batch axes.

  Attributes:
    images: uint8 [B, Y, X, C], or naflex.Patches.
    tokens: int32 [B, L].
    labels: int32 [B], equal where captions are equal, or the number of the
      caption's class; None unless the loss needs them.
    keys: random key of each row, [B]; None unless a tower draws numbers.
  """

  images: Any
  tokens: Any
  labels: Any = None
  keys: Any = None


def gradient(
  objective: objective_lib.Objective, params: Any, stats: Any, batch: Batch
) -> objective_lib.LossAndGrads:
  """Return loss, new statistics and gradient of a batch: the plain case."""

  def forward(params):
    embeddings, new_stats = objective.embed(params, stats, batch)
    loss = objective.loss(params, embeddings, batch)
    return loss, new_stats

  return jax.value_and_grad(forward, has_aux=True)(params)


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config."""
  graph = dual_encoder.make_graph(config.model, mesh_lib.BATCH_AXES)
  pair_loss = losses.make_loss(config.loss, mesh_lib.BATCH_AXES)

  def embed(params, stats, batch: Batch):
    model = dual_encoder.merge(graph, batch_norm.join(params, stats))
    return model.embed_in_training(batch.images, batch.tokens, batch.keys)

  def loss(params, embeddings, batch: Batch):
    scale, bias = jnp.exp(params["log_scale"]), params["bias"]
    return pair_loss(*embeddings, scale, bias, batch.labels)

  def embed_locked(params, stats, batch: Batch):
    model = dual_encoder.merge(graph, batch_norm.join(params, stats))
    return model(batch.images, batch.tokens, batch.keys)

  def metrics(params):
    scale, bias = jnp.exp(params["log_scale"]), params["bias"]
    return {"train/scale": scale, "train/bias": bias}

  return objective_lib.Objective(
    batch=shapes(config),
    batch_of=batch_of,
    embed=embed,
    embed_locked=embed_locked,
    loss=loss,
    gradient=gradient,
    metrics=metrics,
    init_params=functools.partial(dual_encoder.init_params, config.model),
    draws=config.model.draws,
  )


def batch_of(arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of a loader's arrays (input_pipeline/examples.py)."""
  images = arrays["images"]
  if "shapes" in arrays:
    images = naflex.Patches(images, arrays["shapes"])
  return Batch(images, arrays["tokens"], arrays.get("labels"))


def shapes(config: config_lib.Config) -> Batch:
  """Return the global batch as ShapeDtypeStructs.

  Raises:
    ValueError: sources hold videos, which no tower of pairs reads, or batches
      have arrays of other losses.
  """
  if config.data.video.is_on:
    raise ValueError(
      f'data.video.clips must be 0 with loss.name="{config.loss.name}", whose'
      f" image tower reads single images; got {config.data.video.clips}"
    )
  for field, section in (
    ("regions.num_tokens", config.data.regions),
    ("views.has_global", config.data.views),
  ):
    if section.is_on:
      raise ValueError(
        f"data.{field} needs config.decoding or config.distillation, which read"
        " what it makes; got neither"
      )
  return batch_of(
    {
      name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype)
      for name, (shape, dtype) in array_shapes(config).items()
    }
  )


def array_shapes(
  config: config_lib.Config,
) -> dict[str, tuple[tuple[int, ...], Any]]:
  """Return shape of a row and dtype of the arrays that `batch_of` reads."""
  shapes: dict[str, tuple[tuple[int, ...], Any]] = {
    **config.data.augmentation.shapes(config.data.image_size),
    "tokens": (
      (config.data.train_num_tokens or config.data.num_tokens,),
      np.int32,
    ),
  }
  if config.loss.needs_labels:
    shapes["labels"] = ((), np.int32)
  return shapes
