"""One training step: two towers, the loss, gradients, the optimizer."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import losses
from models import batch_norm, dual_encoder, naflex
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import gradient_cache, text_lengths, train_state
from training import optimizer as optimizer_lib

Metrics = dict[str, jax.Array]
TrainStep = Callable[
  [train_state.TrainState, dict[str, jax.Array]],
  tuple[train_state.TrainState, Metrics],
]
# Folded into the seed's key: what towers draw is not what parameters drew.
_DRAWS = 1


def make_train_step(
  config: config_lib.Config, optimizer: optax.GradientTransformation
) -> TrainStep:
  """Return step(state, batch) -> (state, metrics), to be compiled.

  `batch` holds "images", uint8 [B, Y, X, C] (or patches, uint8 [B, N, P], with
  "shapes", int32 [B, 2]: naflex.Patches), "tokens", int32 [B, L], and where the
  loss needs them "labels", int32 [B], all split over BATCH_AXES; metrics
  are float32 scalars. Both are for the mesh in use (jax.set_mesh).
  """
  schedule = config.optimizer.make_schedule(config.total_steps)
  loss_and_grads = _make_loss_and_grads(config)

  def step(state, batch):
    if config.model.draws:
      batch = batch | {"keys": _keys(config, state.step)}
    (loss, stats), grads = loss_and_grads(state.params, batch)
    grad_norm = optax.tree.norm(grads)
    grads = optimizer_lib.clip_by_global_norm(
      grads, grad_norm, config.optimizer.clip_norm
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    params = batch_norm.replace(params, stats)
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


def _make_loss_and_grads(config: config_lib.Config) -> Callable[..., Any]:
  """Return (params, batch) -> ((loss, statistics), gradient).

  However it is computed. The statistics replace some of the parameters.
  """
  graph = dual_encoder.make_graph(config.model, mesh_lib.BATCH_AXES)
  pair_loss = losses.make_loss(config.loss, mesh_lib.BATCH_AXES)
  num_microbatches = config.num_microbatches

  def loss_and_grads(params, batch):
    frozen = optimizer_lib.frozen_params(config.optimizer, params)
    locked = optimizer_lib.locks_statistics(config.optimizer, params)
    # No gradient is computed for what no gradient will change.
    live = jax.tree.map(lambda p, fixed: None if fixed else p, params, frozen)

    def embed_fn(live, batch):
      model = dual_encoder.merge(graph, _fill(params, live))
      rows = _images(batch), batch["tokens"], batch.get("keys")
      return (model(*rows), {}) if locked else model.embed_in_training(*rows)

    def loss_fn(live, embeddings, batch):
      filled = _fill(params, live)
      scale, bias = jnp.exp(filled["log_scale"]), filled["bias"]
      return pair_loss(*embeddings, scale, bias, batch.get("labels"))

    def loss_and_stats(live, batch):
      embeddings, stats = embed_fn(live, batch)
      return loss_fn(live, embeddings, batch), stats

    def at_once(batch):
      return jax.value_and_grad(loss_and_stats, has_aux=True)(live, batch)

    if num_microbatches == 1:
      seen, grads = at_once(batch)
    elif config.loss.scope == "microbatch":
      seen, grads = gradient_cache.mean_loss_and_grads(
        at_once, batch, num_microbatches
      )
    else:
      seen, grads = gradient_cache.loss_and_grads(
        embed_fn, loss_fn, live, batch, num_microbatches
      )
    return seen, _fill(jax.tree.map(jnp.zeros_like, params), grads)

  text = config.model.text
  assert text is not None  # `from_mapping` refuses None

  def cut_texts(params, batch):
    return text_lengths.apply(
      lambda tokens_Bl: loss_and_grads(params, batch | {"tokens": tokens_Bl}),
      batch["tokens"],
      config.text_lengths,
      text,
    )

  return cut_texts


def _images(batch: dict[str, jax.Array]) -> Any:
  """Return what the image tower is given."""
  if "shapes" in batch:
    return naflex.Patches(batch["images"], batch["shapes"])
  return batch["images"]


def _fill(params: Any, live: Any) -> Any:
  """Return `live` with its Nones replaced by the leaves of `params`."""
  return jax.tree.map(lambda p, x: p if x is None else x, params, live)


def _keys(config: config_lib.Config, step: jax.Array) -> jax.Array:
  """Return a key for each row of the batch: its draws are its own."""
  key = jax.random.fold_in(jax.random.key(config.seed), _DRAWS)
  fold_in = functools.partial(jax.random.fold_in, jax.random.fold_in(key, step))
  return jax.vmap(fold_in)(jnp.arange(config.batch_size))


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
    out_shardings=(shardings, mesh_lib.replicated(mesh)),
  )
  return jitted.lower(abstract_state, abstract_batch).compile()
