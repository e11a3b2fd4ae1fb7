"""One training step: two towers, the loss, gradients, the optimizer."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import losses
from models import dual_encoder
from training import optimizer as optimizer_lib
from training import partitioning, train_state

Metrics = dict[str, jax.Array]
TrainStep = Callable[
  [train_state.TrainState, dict[str, jax.Array]],
  tuple[train_state.TrainState, Metrics],
]


def make_train_step(
  model_config: dual_encoder.ModelConfig,
  loss_config: losses.LossConfig,
  optimizer_config: optimizer_lib.OptimizerConfig,
  optimizer: optax.GradientTransformation,
  total_steps: int,
) -> TrainStep:
  """Return step(state, batch) -> (state, metrics), to be compiled.

  `batch` holds "images", uint8 [B, Y, X, C], "tokens", int32 [B, L], and where
  the loss needs them "labels", int32 [B], all split over BATCH_AXES; metrics
  are float32 scalars. Both are for the mesh in use (jax.set_mesh).
  """
  graph = dual_encoder.make_graph(model_config)
  pair_loss = losses.make_loss(loss_config, partitioning.BATCH_AXES)
  schedule = optimizer_config.make_schedule(total_steps)

  def step(state, batch):
    frozen = optimizer_lib.frozen_params(optimizer_config, state.params)

    def loss_fn(params):
      # No gradient is computed for what no gradient will change.
      params = jax.tree.map(
        lambda p, is_frozen: jax.lax.stop_gradient(p) if is_frozen else p,
        params,
        frozen,
      )
      model = dual_encoder.merge(graph, params)
      zimg_BE, ztxt_BE = model(batch["images"], batch["tokens"])
      return pair_loss(
        zimg_BE,
        ztxt_BE,
        jnp.exp(params["log_scale"]),
        params["bias"],
        batch["labels"] if loss_config.needs_labels else None,
      )

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    grad_norm = optax.tree.norm(grads)
    grads = optimizer_lib.clip_by_global_norm(
      grads, grad_norm, optimizer_config.clip_norm
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    if model_config.scale_max:
      limit = math.log(model_config.scale_max)
      params["log_scale"] = jnp.minimum(params["log_scale"], limit)
    metrics = {
      "train/loss": loss,
      "train/grad_norm": grad_norm,
      "train/learning_rate": optimizer_config.learning_rate
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
