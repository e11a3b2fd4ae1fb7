"""Wrappers of an objective's gradient, for what a config asks beyond it.

A wrapper takes a gradient function and returns one. Without its config field it
returns the function unchanged.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from models import batch_norm
from training import config as config_lib
from training import gradient_cache, text_lengths
from training import optimizer as optimizer_lib
from training.objectives import objective as objective_lib

GradientFn = objective_lib.GradientFn
WrapFn = Callable[[config_lib.Config, GradientFn], GradientFn]


def micro_batches(
  config: config_lib.Config, gradient: GradientFn
) -> GradientFn:
  """Compute the gradient in parts (config.num_microbatches)."""
  count = config.num_microbatches
  if count == 1:
    return gradient

  def accumulated(objective, params, stats, batch):
    return gradient_cache.mean_loss_and_grads(
      lambda part: gradient(objective, params, stats, part), batch, count
    )

  def cached(objective, params, stats, batch):
    return gradient_cache.loss_and_grads(
      lambda params, part: objective.embed(params, stats, part),
      objective.loss,
      params,
      batch,
      count,
    )

  return accumulated if config.loss.scope == "microbatch" else cached


def frozen(config: config_lib.Config, gradient: GradientFn) -> GradientFn:
  """Leave frozen parameters and locked statistics out of the gradient."""
  if not any(is_frozen for _, is_frozen in config.optimizer.freeze):
    return gradient

  def wrapped(objective, params, stats, batch):
    variables = batch_norm.join(params, stats)
    fixed = optimizer_lib.frozen_params(config.optimizer, variables)
    # None is no leaf: no gradient is computed for it.
    live = jax.tree.map(lambda p, x: None if x else p, params, fixed)
    embed, loss = objective.embed, objective.loss
    if optimizer_lib.locks_statistics(config.optimizer, variables):
      locked = objective.embed_locked
      embed = lambda *args: (locked(*args), {})  # noqa: E731
    objective = dataclasses.replace(
      objective,
      embed=lambda live, *args: embed(_fill(params, live), *args),
      loss=lambda live, *args: loss(_fill(params, live), *args),
    )
    values, grads = gradient(objective, live, stats, batch)
    return values, _fill(jax.tree.map(jnp.zeros_like, params), grads)

  return wrapped


def caption_lengths(
  config: config_lib.Config, gradient: GradientFn
) -> GradientFn:
  """Cut a batch to its longest caption (config.text_lengths)."""
  text = config.model.text
  assert text is not None  # training/config.py refuses None
  if not config.text_lengths:
    return gradient

  def wrapped(objective, params, stats, batch):
    return text_lengths.apply(
      lambda tokens_Bl: gradient(
        objective, params, stats, dataclasses.replace(batch, tokens=tokens_Bl)
      ),
      batch.tokens,
      config.text_lengths,
      text,
    )

  return wrapped


# Innermost first.
WRAPPERS: Mapping[str, WrapFn] = {
  "num_microbatches": micro_batches,
  "optimizer.freeze": frozen,
  "text_lengths": caption_lengths,
}


def make(
  config: config_lib.Config, objective: objective_lib.Objective
) -> Callable[..., objective_lib.LossAndGrads]:
  """Return (params, stats, batch) -> loss, statistics and gradient."""
  gradient = objective.gradient
  for wrap in WRAPPERS.values():
    gradient = wrap(config, gradient)
  return functools.partial(gradient, objective)


def _fill(params: Any, live: Any) -> Any:
  """Return `live` with its Nones replaced by the leaves of `params`."""
  return jax.tree.map(lambda p, x: p if x is None else x, params, live)
