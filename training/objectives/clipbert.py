"""ClipBERT's training (arXiv 2102.06183), end to end from pixels.

Tasks, batches and losses are those of fused.py; logits of clips are aggregated
before the loss (losses/clips.py).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from evaluators import pair_scores
from losses import clips
from models import batch_norm
from models.fusion import clipbert, fusion_config
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import fused, pairs
from training.objectives import objective as objective_lib

# Function of variables and arrays.
PairFn = Callable[..., jax.Array]


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config with fusion.kind="clipbert"."""
  fusion = config.fusion
  graph = _make_graph(config)

  def init_params(key: jax.Array) -> Any:
    model = _build(config, rngs=nnx.Rngs(params=key))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))

  def run(params, stats, batch: fused.Batch, new_stats=None):
    model = nnx.merge(graph, batch_norm.join(params, stats))
    keys_b = batch.model_keys
    cells_bPYXD = model.cells(batch.images, new_stats)
    if fusion.task != fusion_config.PRETRAINING:
      return model.logits(cells_bPYXD, batch.tokens_bQL, keys_b)
    words, matching = model.pretraining(cells_bPYXD, batch.tokens, keys_b)
    return fused.pretrained(words, matching, batch)

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


def pair_fns(config: config_lib.Config) -> tuple[PairFn, PairFn]:
  """Return functions for evaluators/pair_scores.py, pure and not compiled.

  The first maps (variables, clips uint8 [b, P, T, Y, X, 3]) to the clips'
  cells; the second (variables, cells, tokens int32 [t, L]) to the log-odds of a
  match of each video and text, float32 [b, t].

  Args:
    config: checked, with fusion.task="retrieval".
  """
  graph = _make_graph(config)

  def encode(variables, clips_bPTYXC):
    return nnx.merge(graph, variables).cells(clips_bPTYXC)

  def score(variables, cells_bPYXD, tokens_tL):
    model = nnx.merge(graph, variables)
    b, t = len(cells_bPYXD), len(tokens_tL)
    tokens_btL = jnp.broadcast_to(tokens_tL, (b, *tokens_tL.shape))
    logits_btP2 = model.logits(cells_bPYXD, tokens_btL)
    logits_R2 = clips.aggregate(
      logits_btP2.reshape(b * t, *logits_btP2.shape[2:]),
      config.fusion.aggregate,
    )
    return pair_scores.log_odds(logits_R2).reshape(b, t)

  return encode, score


def _build(config: config_lib.Config, **fields: Any) -> clipbert.ClipBert:
  fusion = config.fusion
  return clipbert.ClipBert(
    fusion.clipbert,
    fusion.cnn,
    config.model,
    num_out=fusion.num_out,
    **fields,
  )


def _make_graph(config: config_lib.Config) -> nnx.GraphDef:
  """Return the model without its parameters; no array is made."""
  model = jax.eval_shape(
    lambda: _build(
      config,
      rngs=nnx.Rngs(params=jax.random.key(0)),
      batch_axes=mesh_lib.BATCH_AXES,
    )
  )
  return nnx.split(model)[0]
