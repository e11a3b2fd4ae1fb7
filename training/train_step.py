"""One training step: two towers, the loss, gradients, the optimizer."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import losses
from models import dual_encoder
from training import config as config_lib
from training import optimizer as optimizer_lib
from training import partitioning, text_lengths, train_state

Metrics = dict[str, jax.Array]
TrainStep = Callable[
  [train_state.TrainState, dict[str, jax.Array]],
  tuple[train_state.TrainState, Metrics],
]


def make_train_step(
  config: config_lib.Config, optimizer: optax.GradientTransformation
) -> TrainStep:
  """Return step(state, batch) -> (state, metrics), to be compiled.

  `batch` holds "images", uint8 [B, Y, X, C], and "tokens", int32 [B, L], split
  over BATCH_AXES; metrics are float32 scalars. Both are for the mesh in use
  (jax.set_mesh).
  """
  graph = dual_encoder.make_graph(config.model)
  loss_module = losses.LOSSES[config.loss.name]
  schedule = config.optimizer.make_schedule(config.total_steps)

  def step(state, batch):
    frozen = optimizer_lib.frozen_params(config.optimizer, state.params)

    def loss_fn(params, tokens_BL):
      # No gradient is computed for what no gradient will change.
      params = jax.tree.map(
        lambda p, is_frozen: jax.lax.stop_gradient(p) if is_frozen else p,
        params,
        frozen,
      )
      model = dual_encoder.merge(graph, params)
      zimg_BE, ztxt_BE = model(batch["images"], tokens_BL)
      return loss_module.sharded(
        zimg_BE,
        ztxt_BE,
        scale=jnp.exp(params["log_scale"]),
        bias=params["bias"],
        axis_names=partitioning.BATCH_AXES,
        label_smoothing=config.loss.label_smoothing,
      )

    loss, grads = text_lengths.apply(
      functools.partial(jax.value_and_grad(loss_fn), state.params),
      batch["tokens"],
      config.text_lengths,
    )
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
      "train/scale": jnp.exp(state.params["log_scale"]),
      "train/bias": state.params["bias"],
    }
    state = train_state.TrainState(
      step=state.step + 1, params=params, opt_state=opt_state
    )
    return state, metrics

  return step


def compile_train_step(
  step: TrainStep,
  abstract_state: train_state.TrainState,
  abstract_batch: dict[str, jax.ShapeDtypeStruct],
  mesh: jax.sharding.Mesh,
) -> jax.stages.Compiled:
  """Compile the step ahead of time; it takes over the state it is given."""
  shardings = jax.tree.map(lambda x: x.sharding, abstract_state)
  jitted = jax.jit(
    step,
    donate_argnums=0,
    out_shardings=(shardings, partitioning.replicated(mesh)),
  )
  return jitted.lower(abstract_state, abstract_batch).compile()
