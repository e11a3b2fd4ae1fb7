"""Routing of questions: QCR's router, trained before any answer.

The loss is the cross-entropy of a question's type, closed or open, as in QCR's
released code. No image is seen.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from models.vqa import answering, questions
from training import config as config_lib
from training.objectives import objective as objective_lib
from training.objectives import pairs

# Name of the parameters, as in models/vqa/answering.py.
NAME = "router"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Questions, split over the mesh's batch axes.

  Attributes:
    tokens: int32 [B, L].
    types: int32 [B], 0 closed and 1 open.
    keys: random key of each question, [B]; None in evaluation.
  """

  tokens: Any
  types: Any
  keys: Any = None


def batch_of(arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of a loader's arrays; answers are not used."""
  return Batch(arrays["tokens"], arrays["types"])


def make(config: config_lib.Config, num_words: int) -> objective_lib.Objective:
  """Return the objective; its embeddings are logits of types, [b, 2].

  Args:
    config: checked, with vqa.layout.
    num_words: words of the vocabulary.
  """

  def build(key: jax.Array) -> questions.QuestionVector:
    return answering.make_router(
      config.vqa.model, num_words, nnx.Rngs(params=key)
    )

  def init_params(key: jax.Array) -> Any:
    return {NAME: nnx.to_pure_dict(nnx.state(build(key), nnx.Param))}

  graph = nnx.split(jax.eval_shape(build, jax.random.key(0)))[0]

  def route(params, stats, batch: Batch) -> jax.Array:
    del stats
    return nnx.merge(graph, params[NAME])(batch.tokens, batch.keys)

  rows = config.batch_size
  return objective_lib.Objective(
    batch=Batch(
      jax.ShapeDtypeStruct((rows, config.vqa.num_tokens), np.int32),
      jax.ShapeDtypeStruct((rows,), np.int32),
    ),
    batch_of=batch_of,
    embed=lambda *args: (route(*args), {}),
    embed_locked=route,
    loss=lambda params, route_bH, batch: cross_entropy(route_bH, batch.types),
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=True,
  )


def cross_entropy(route_bH: jax.Array, type_b: jax.Array) -> jax.Array:
  """Return the mean cross-entropy of the types, a float32 scalar."""
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(route_bH, type_b)
  )
