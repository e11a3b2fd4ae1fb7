"""METER's training (arXiv 2111.02387): masked words and matching, or VQA.

Differences from the released code: one forward pass serves both losses of
pre-training, so words are masked in matching too; negatives are other texts
instead of other images.
"""

import functools
from typing import Any

import jax
from flax import nnx

from models import batch_norm
from models.fusion import fusion_config, meter
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import fused, pairs
from training.objectives import objective as objective_lib


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config with fusion.kind="meter"."""
  fusion = config.fusion
  build = functools.partial(
    meter.Meter, fusion.meter, config.model, num_out=fusion.num_out
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

  def run(params, stats, batch: fused.Batch):
    model = nnx.merge(graph, batch_norm.join(params, stats))
    images_bYXC = batch.images[:, 0, 0]
    text, pooled = model(images_bYXC, batch.tokens, batch.model_keys)
    if fusion.task == fusion_config.PRETRAINING:
      words, matching = model.heads.pretraining(text, pooled)
      return fused.pretrained(words, matching, batch)
    return model.heads.answer(pooled)[:, None, None]  # one text, one clip

  def loss(params, outputs, batch: fused.Batch):
    del params
    return fused.LOSSES[fusion.task](outputs, batch, fusion.aggregate)

  return objective_lib.Objective(
    batch=fused.shapes(config),
    batch_of=fused.batch_of,
    embed=lambda *args: (run(*args), {}),
    embed_locked=run,
    loss=loss,
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=True,
    prepare=functools.partial(fused.prepare, config),
  )
