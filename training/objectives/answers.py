"""Answers to questions about images: MEVF's and QCR's training.

Each head learns from the questions that it has, by their annotated type; the
router learns the types, unless a run of its own trained it
(vqa.router_from). Router and heads share no parameter.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from losses import answers
from models import batch_norm
from models.vqa import answering
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import objective as objective_lib
from training.objectives import pairs, routing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows of questions, split over the mesh's batch axes.

  Attributes:
    images: uint8 [B, Y, X, 3], for the image tower.
    grey: uint8 [B, Y, X], for the autoencoder.
    tokens: int32 [B, L].
    heads: int32 [B], head that has the answer.
    labels: int32 [B], its index there; -1 where the head lacks it.
    types: int32 [B], 0 closed and 1 open.
    keys: random key of each row, [B]; None in evaluation.
  """

  images: Any
  grey: Any
  tokens: Any
  heads: Any
  labels: Any
  types: Any
  keys: Any = None


def batch_of(arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of arrays by name."""
  return Batch(**arrays)


def make(
  config: config_lib.Config, num_words: int, num_answers: Mapping[str, int]
) -> objective_lib.Objective:
  """Return the objective.

  Args:
    config: checked, with vqa.layout.
    num_words: words of the vocabulary.
    num_answers: head -> number of its answers.
  """
  vqa = config.vqa
  build = functools.partial(
    answering.Answering,
    vqa.model,
    config.model,
    num_words=num_words,
    num_answers=num_answers,
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

  def answer(params, stats, batch: Batch, new_stats=None):
    model = nnx.merge(graph, batch_norm.join(params, stats))
    return model(batch.images, batch.grey, batch.tokens, batch.keys, new_stats)

  def embed(params, stats, batch: Batch):
    if config.model.batch_norm_group is None:
      return answer(params, stats, batch), {}
    new_stats: batch_norm.Statistics = {}
    outputs = answer(params, stats, batch, new_stats)
    return outputs, {"img": new_stats}

  def loss(params, outputs: answering.Outputs, batch: Batch):
    del params
    total = vqa.reconstruction_weight * jnp.mean(outputs.error_b)
    for index, head in enumerate(vqa.model.heads):
      total += answers.binary(
        outputs.logits[head],
        batch.labels,
        (batch.heads == index).astype(jnp.float32),
        reduction=vqa.answer_reduction,
      )
    # A frozen router has no gradient, which would count in the limit of the
    # others' norm.
    if outputs.route_bH is not None and not vqa.router_from:
      total += routing.cross_entropy(outputs.route_bH, batch.types)
    return total

  return objective_lib.Objective(
    batch=_shapes(config),
    batch_of=batch_of,
    embed=embed,
    embed_locked=answer,
    loss=loss,
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=True,
  )


def answer_fn(objective: objective_lib.Objective):
  """Return (variables, batch) -> (head_B, label_B), each row's answer.

  The head is the router's, and the answer that head's best.
  """

  def answer(variables, batch: Batch):
    params, stats = batch_norm.split(variables)
    outputs = objective.embed_locked(params, stats, batch)
    best_HB = jnp.stack([x.argmax(axis=1) for x in outputs.logits.values()])
    route_bH = outputs.route_bH
    head_B = (
      jnp.zeros(best_HB.shape[1], jnp.int32)
      if route_bH is None
      else jnp.argmax(route_bH, axis=1)
    )
    return head_B, best_HB[head_B, jnp.arange(best_HB.shape[1])]

  return answer


def _shapes(config: config_lib.Config) -> Batch:
  size, grey = config.data.image_size, config.vqa.model.autoencoder_size
  shapes = {
    "images": ((size, size, 3), np.uint8),
    "grey": ((grey, grey), np.uint8),
    "tokens": ((config.vqa.num_tokens,), np.int32),
    **dict.fromkeys(("heads", "labels", "types"), ((), np.int32)),
  }
  return Batch(
    **{
      name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype)
      for name, (shape, dtype) in shapes.items()
    }
  )
