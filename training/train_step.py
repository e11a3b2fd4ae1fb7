"""Training step: gradient of the objective, clipping, optimizer, metrics."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from models import batch_norm
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import gradients, train_state
from training import optimizer as optimizer_lib
from training.objectives import objective as objective_lib

Metrics = dict[str, jax.Array]
TrainStep = Callable[
  [train_state.TrainState, Any], tuple[train_state.TrainState, Metrics]
]
# Folded into the seed's key: towers and parameters draw different numbers.
_DRAWS = 1


def make_train_step(
  config: config_lib.Config,
  objective: objective_lib.Objective,
  optimizer: optax.GradientTransformation,
) -> TrainStep:
  """Return step(state, batch) -> (state, metrics), to be compiled.

  `batch` is as `objective.batch`, its rows split over BATCH_AXES; metrics are
  float32 scalars. Both are for the mesh in use (jax.set_mesh).
  """
  schedule = config.optimizer.make_schedule(config.total_steps)
  gradient = gradients.make(config)

  def step(state, batch):
    if config.model.draws:
      batch = dataclasses.replace(batch, keys=_keys(config, state.step))
    (loss, stats), grads = gradient(objective, state.params, state.stats, batch)
    grad_norm = optax.tree.norm(grads)
    grads = optimizer_lib.clip_by_global_norm(
      grads, grad_norm, config.optimizer.clip_norm
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    if config.model.scale_max:
      limit = math.log(config.model.scale_max)
      params["log_scale"] = jnp.minimum(params["log_scale"], limit)
    metrics = {
      "train/loss": loss,
      "train/grad_norm": grad_norm,
      "train/learning_rate": config.optimizer.learning_rate
      * schedule(state.step),
      **objective.metrics(state.params),
    }
    state = dataclasses.replace(
      state,
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      stats=batch_norm.join(state.stats, stats),
    )
    return state, metrics

  return step


def _keys(config: config_lib.Config, step: jax.Array) -> jax.Array:
  """Return a random key for each row of the batch."""
  key = jax.random.fold_in(jax.random.key(config.seed), _DRAWS)
  fold_in = functools.partial(jax.random.fold_in, jax.random.fold_in(key, step))
  return jax.vmap(fold_in)(jnp.arange(config.batch_size))


def compile_train_step(
  step: TrainStep,
  abstract_state: train_state.TrainState,
  abstract_batch: Any,
  mesh: jax.sharding.Mesh,
) -> jax.stages.Compiled:
  """Compile the step ahead of time; the compiled step donates its state."""
  shardings = jax.tree.map(lambda x: x.sharding, abstract_state)
  jitted = jax.jit(
    step,
    donate_argnums=0,
    out_shardings=(shardings, mesh_lib.replicated(mesh)),
  )
  return jitted.lower(abstract_state, abstract_batch).compile()
