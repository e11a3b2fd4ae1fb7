"""ClipBERT's training (arXiv 2102.06183), end to end from pixels.

Tasks, batches and losses are those of fused.py; logits of clips are aggregated
before the loss (losses/clips.py).
"""

import functools
from typing import Any

import jax
from flax import nnx

from losses import clips
from models import batch_norm
from models.fusion import clipbert, fusion_config
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import fused, pairs
from training.objectives import objective as objective_lib


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config with fusion.kind="clipbert"."""
  fusion = config.fusion
  build = functools.partial(
    clipbert.ClipBert,
    fusion.clipbert,
    fusion.cnn,
    config.model,
    num_out=fusion.num_out,
  )
  axes = mesh_lib.BATCH_AXES

  def init_params(key: jax.Array) -> Any:
    model = build(rngs=nnx.Rngs(params=key))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))

  graph = nnx.split(
    jax.eval_shape(
      lambda: build(rngs=nnx.Rngs(params=jax.random.key(0)), batch_axes=axes)
    )
  )[0]

  def run(params, stats, batch: fused.Batch, new_stats=None):
    model = nnx.merge(graph, batch_norm.join(params, stats))
    keys_b = batch.model_keys
    cells_bPYXD = model.cells(batch.images, new_stats)
    if fusion.task != fusion_config.PRETRAINING:
      return model.logits(cells_bPYXD, batch.tokens_bQL, keys_b)
    logits = model.pretraining(cells_bPYXD, batch.tokens, keys_b)
    return fused.pretrained(*logits, batch)

  def embed(params, stats, batch: fused.Batch):
    if fusion.cnn.frozen_norm:
      return run(params, stats, batch), {}
    new_stats: batch_norm.Statistics = {}
    outputs = run(params, stats, batch, new_stats)
    return outputs, {"cnn": new_stats}

  def loss(params, outputs, batch: fused.Batch):
    del params
    return fused.LOSSES[fusion.task](outputs, batch, fusion.aggregate)

  return objective_lib.Objective(
    batch=fused.shapes(config),
    batch_of=fused.batch_of,
    embed=embed,
    embed_locked=run,
    loss=loss,
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=True,
    prepare=functools.partial(fused.prepare, config),
  )


def answer_fn(config: config_lib.Config, objective: objective_lib.Objective):
  """Return (variables, batch) -> the logits of videos, float32.

  They are [b, A] for answers and vqa, [b, Q] for choices, and [b, Q, 2] for
  retrieval, aggregated over clips.

  Args:
    config: config of the objective, of another task than pre-training.
    objective: result of `make`.
  """
  fusion = config.fusion

  def answer(variables, batch: fused.Batch):
    params, stats = batch_norm.split(variables)
    logits_bQPA = objective.embed_locked(params, stats, batch)
    b, num_texts = logits_bQPA.shape[:2]
    logits_RA = clips.aggregate(
      logits_bQPA.reshape(b * num_texts, *logits_bQPA.shape[2:]),
      fusion.aggregate,
    )
    logits_bQA = logits_RA.reshape(b, num_texts, -1)
    if fusion.task == fusion_config.RETRIEVAL:
      return logits_bQA
    if fusion.task == fusion_config.CHOICES:
      return logits_bQA[..., 0]
    return logits_bQA[:, 0]

  return answer
