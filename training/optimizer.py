"""Optimizers, with rules for weight decay, learning rate and freezing.

Layers are stacked: one leaf holds a kernel of all layers. Functions of one
layer's whole parameters (LAMB's trust ratio, Adafactor's clipping) are applied
to each layer of a stacked leaf.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models import batch_norm, class_head
from runtime import checks, marks, param_rules
from training import schedule

OPTIMIZERS = ("adamw", "adafactor", "lamb", "adamax")
DECAY_CONVENTIONS = ("lr", "schedule", "l2")
MOMENT_DTYPES = ("float32", "bfloat16")
# Parts of a tower before its layers, and after them.
_EMBEDDINGS = (
  *("patch", "position", "cls", "pre_norm", "registers"),
  *("token_embedding", "type_embedding", "embedding_norm"),
)
_HEADS = ("norm", "pool", "projection")
Rules = tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """Fields of `config.optimizer`; configs/base.py explains them."""

  name: marks.Fixed[str]
  learning_rate: marks.Fixed[float]
  b1: marks.Fixed[float]
  b2: marks.Fixed[float]
  epsilon: marks.Fixed[float]
  moment_dtype: marks.Fixed[str]
  clip_norm: marks.Fixed[float]
  schedule: marks.Fixed[str]
  warmup_steps: marks.Fixed[int]
  cooldown_steps: marks.Fixed[int]
  timescale_steps: marks.Fixed[int]
  final_fraction: marks.Fixed[float]
  weight_decay: marks.Fixed[float]
  weight_decay_convention: marks.Fixed[str]
  weight_decay_mults: marks.Fixed[Rules]
  learning_rate_mults: marks.Fixed[Rules]
  freeze: marks.Fixed[Rules]
  layer_decay: marks.Fixed[float] = 1.0
  factors: marks.Fixed[tuple[tuple[int, float], ...]] = ()

  @checks.collected()
  def check(self, total_steps: int) -> None:
    """Raise ValueError where a field's value cannot be used.

    Args:
      total_steps: number of steps of the schedule.
    """
    for field, choices in (
      ("name", OPTIMIZERS),
      ("weight_decay_convention", DECAY_CONVENTIONS),
      ("moment_dtype", MOMENT_DTYPES),
    ):
      checks.one_of(f"optimizer.{field}", getattr(self, field), choices)
    for field in ("learning_rate", "clip_norm", "weight_decay"):
      checks.at_least(f"optimizer.{field}", getattr(self, field), 0)
    if self.name == "lamb" and self.weight_decay_convention != "lr":
      raise ValueError(
        "optimizer.weight_decay_convention must be 'lr' with LAMB, whose trust"
        f" ratio includes the decay; got {self.weight_decay_convention!r}"
      )
    if self.name == "adamax" and self.moment_dtype != "float32":
      checks.refuse(
        "optimizer.moment_dtype must be 'float32' with Adamax; got "
        f"{self.moment_dtype!r}"
      )
    if not 0 < self.layer_decay <= 1:
      checks.refuse(
        "optimizer.layer_decay must be above 0 and at most 1; got "
        f"{self.layer_decay}"
      )
    self.make_schedule(total_steps)

  def make_schedule(
    self, total_steps: int, span: schedule.Span | None = None
  ) -> schedule.Schedule:
    """Return the factor of `learning_rate` at a step.

    Args:
      total_steps: number of steps of the schedule.
      span: its place in the run; None begins with the run.
    """
    made = schedule.make_schedule(
      self.schedule,
      total_steps=total_steps,
      warmup_steps=self.warmup_steps,
      cooldown_steps=self.cooldown_steps,
      timescale_steps=self.timescale_steps,
      final_fraction=self.final_fraction,
      factors=self.factors,
    )
    return made if span is None else schedule.in_run(made, span)


def make_optimizer(
  config: OptimizerConfig,
  variables: Any,
  total_steps: int,
  span: schedule.Span | None = None,
) -> optax.GradientTransformation:
  """Return the optimizer of a model's parameters.

  Args:
    config: checked.
    variables: parameters and running statistics, arrays or ShapeDtypeStructs;
      only their paths and shapes are used. Rules apply to both kinds.
    total_steps: number of steps of the schedule.
    span: place of the schedule in the run; None begins with the run.

  Within a traced function, learning rate and weight decay may be traced too.

  Raises:
    ValueError: a parameter without a rule, or a rule without a parameter.
  """
  factor = config.make_schedule(total_steps, span)
  frozen = frozen_params(config, variables)
  decay_mults = param_rules.values(
    param_rules.apply(
      config.weight_decay_mults, variables, "optimizer.weight_decay_mults"
    ),
    float,
  )
  rate_mults = param_rules.values(
    param_rules.apply(
      config.learning_rate_mults, variables, "optimizer.learning_rate_mults"
    ),
    float,
  )
  if config.layer_decay < 1:
    rate_mults = jax.tree.map_with_path(
      functools.partial(_layer_rate, config.layer_decay, _depths(variables)),
      rate_mults,
    )
  moments = {
    "adamw": _adam,
    "lamb": _adam,
    "adafactor": _adafactor,
    "adamax": _adamax,
  }[config.name](config)
  rate = _scale_leaves(
    rate_mults, lambda step: config.learning_rate * factor(step)
  )
  if config.weight_decay_convention == "schedule":
    steps = [
      moments,
      rate,
      _add_decay(config.weight_decay, decay_mults, factor),
    ]
  elif config.weight_decay_convention == "l2":
    steps = [_add_decay(config.weight_decay, decay_mults), moments, rate]
  else:
    steps = [moments, _add_decay(config.weight_decay, decay_mults)]
    if config.name == "lamb":
      steps.append(_scale_by_trust_ratio())
    steps.append(rate)
  trained = optax.chain(*steps, optax.scale(-1.0))
  labels = jax.tree.map(lambda x: "frozen" if x else "trained", frozen)
  return optax.partition(
    {"trained": trained, "frozen": optax.set_to_zero()}, labels
  )


def frozen_params(config: OptimizerConfig, variables: Any) -> Any:
  """Return a tree of bools: which parameters `config.freeze` holds fixed."""
  params, _ = batch_norm.split(_freeze(config, variables))
  return params


def locks_statistics(config: OptimizerConfig, variables: Any) -> bool:
  """Return whether `config.freeze` holds running statistics fixed.

  A locked tower normalises by its running statistics in training too.

  Raises:
    ValueError: some statistics are held fixed and others are not.
  """
  _, stats = batch_norm.split(_freeze(config, variables))
  fixed = {
    param_rules.path_string(path): value
    for path, value in jax.tree.leaves_with_path(stats)
  }
  if len(set(fixed.values())) > 1:
    held = next(path for path, value in fixed.items() if value)
    free = next(path for path, value in fixed.items() if not value)
    raise ValueError(
      "optimizer.freeze must hold all running statistics of batch norm or none"
      f" of them; it holds {held}, not {free}"
    )
  return any(fixed.values())


def with_place_of(opt_state: Any, other: Any, num_steps: int = 0) -> Any:
  """Return a state `num_steps` after another's place in the schedule.

  Moments and their own counts stay: two updates of one step count as two for
  Adam's corrections, and as one for the learning rate.
  """

  def placed(x: Any, theirs: Any) -> Any:
    if not isinstance(x, optax.ScaleByScheduleState):
      return x
    return optax.ScaleByScheduleState(count=theirs.count + num_steps)

  return jax.tree.map(
    placed,
    opt_state,
    other,
    is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState),
  )


def _freeze(config: OptimizerConfig, variables: Any) -> Any:
  return param_rules.values(
    param_rules.apply(config.freeze, variables, "optimizer.freeze"), bool
  )


def clip_by_global_norm(grads: Any, norm: jax.Array, limit: float) -> Any:
  """Scale all gradients down so that their norm together is at most `limit`.

  Args:
    grads: tree of gradients.
    norm: their global norm.
    limit: highest norm; 0 for no limit.
  """
  if not limit:
    return grads
  factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12))
  return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
  return optax.scale_by_adam(
    b1=config.b1,
    b2=config.b2,
    eps=config.epsilon,
    mu_dtype=jnp.dtype(config.moment_dtype),
  )


def _adamax(config: OptimizerConfig) -> optax.GradientTransformation:
  """Adam with the infinity norm (arXiv 1412.6980, algorithm 2)."""
  return optax.scale_by_adamax(config.b1, config.b2, config.epsilon)


def _depths(variables: Any) -> dict[str, int]:
  """Return the number of stacked layers of each tower that has them."""
  depths = {}
  for path, leaf in jax.tree.leaves_with_path(variables):
    tower, *parts = param_rules.path_string(path).split("/")
    if parts and parts[0] == "blocks":
      depths[tower] = leaf.shape[0]
  return depths


def _layer_rate(
  decay: float, depths: Mapping[str, int], path: Any, mult: float
) -> float | np.ndarray:
  """Return a leaf's factor of the learning rate, by its distance to the head.

  Layer l of n has decay^(n - l), counted from 0, embeddings have
  decay^(n + 1), and what follows the layers has 1, as in BEiT
  (arXiv 2106.08254, released code) and timm. A stacked leaf gets a factor for
  each layer, [n, 1, ...].
  """
  name = param_rules.path_string(path)
  tower, *parts = name.split("/")
  if tower not in depths:
    if parts and tower != class_head.NAME:
      raise ValueError(
        f"optimizer.layer_decay must be 1 for a tower without stacked layers; "
        f"got {decay}, and the parameter {name}"
      )
    return mult
  depth = depths[tower]
  if parts[0] == "blocks":
    return mult * decay ** np.arange(depth, 0, -1, dtype=np.float32)
  if parts[0] in _EMBEDDINGS:
    return mult * decay ** (depth + 1)
  if parts[0] in _HEADS:
    return mult
  raise ValueError(
    f"optimizer.layer_decay has no layer for the parameter {name}"
  )


def _adafactor(config: OptimizerConfig) -> optax.GradientTransformation:
  """Factored second moments, clipped updates, a first moment if b1 > 0.

  Source: Adafactor (arXiv 1804.04235): decay exponent 0.8, clipping at 1; the
  first moment as in "Scaling Vision Transformers" (arXiv 2106.04560), 3.4.
  """
  steps = [
    optax.scale_by_factored_rms(decay_rate=0.8, epsilon=1e-30),
    _clip_by_rms(1.0),
  ]
  if config.b1:
    steps.append(
      optax.ema(
        config.b1,
        debias=False,
        accumulator_dtype=jnp.dtype(config.moment_dtype),
      )
    )
  return optax.chain(*steps)


def _scale_leaves(
  mults: Any, rate: Callable[[jax.Array], jax.Array]
) -> optax.GradientTransformation:
  """Multiply each leaf by rate(step) and by its own constant."""

  def update(updates, state, params=None):
    del params
    now = rate(state.count)
    # `partition` hides frozen leaves; the constants are looked up by path.
    updates = _map_with_constants(
      lambda u, mult: u * (now * _spread(mult, u)).astype(u.dtype),
      mults,
      updates,
    )
    return updates, optax.ScaleByScheduleState(count=state.count + 1)

  return optax.GradientTransformation(_init_count, update)


def _spread(mult: float | np.ndarray, x: jax.Array) -> float | np.ndarray:
  """Return a factor for each layer with as many axes as a stacked leaf."""
  if isinstance(mult, np.ndarray):
    return mult.reshape(-1, *(1,) * (x.ndim - 1))
  return mult


def _add_decay(
  decay: float, mults: Any, factor: schedule.Schedule | None = None
) -> optax.GradientTransformation:
  """Add each parameter times decay and its own constant, and factor(step)."""

  def update(updates, state, params=None):
    now = 1.0 if factor is None else factor(state.count)
    updates = _map_with_constants(
      lambda u, mult, p: (
        u + (decay * mult * now * p).astype(u.dtype) if mult else u
      ),
      mults,
      updates,
      params,
    )
    return updates, optax.ScaleByScheduleState(count=state.count + 1)

  return optax.GradientTransformation(_init_count, update)


def _init_count(params: Any) -> optax.ScaleByScheduleState:
  del params
  return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))


def _map_with_constants(fn, constants, updates, *rest) -> Any:
  """Map over leaves of `updates`, with the constant of the same path."""
  by_path = {
    param_rules.path_string(path): value
    for path, value in jax.tree.leaves_with_path(constants)
  }
  return jax.tree.map_with_path(
    lambda path, u, *r: fn(u, by_path[param_rules.path_string(path)], *r),
    updates,
    *rest,
  )


def _layer_axes(path: Any, x: jax.Array) -> tuple[int, ...]:
  """Return the axes of one layer's part of a leaf (all, if not stacked)."""
  stacked = "blocks" in param_rules.path_string(path).split("/")
  return tuple(range(1 if stacked else 0, x.ndim))


def _scale_by_trust_ratio() -> optax.GradientTransformation:
  """Scale each layer's update to the norm of its parameters.

  Source: LAMB (arXiv 1904.00962), algorithm 2, with phi the identity; 1 where
  either norm is 0.
  """

  def scale(path, update, param):
    axes = _layer_axes(path, param)
    norm = lambda x: jnp.sqrt(  # noqa: E731
      jnp.sum(jnp.square(x.astype(jnp.float32)), axis=axes, keepdims=True)
    )
    norm_p, norm_u = norm(param), norm(update)
    ratio = jnp.where(
      (norm_p > 0) & (norm_u > 0),
      norm_p / jnp.where(norm_u > 0, norm_u, 1.0),
      1.0,
    )
    return update * ratio.astype(update.dtype)

  return optax.stateless(
    lambda updates, params: jax.tree.map_with_path(scale, updates, params)
  )


def _clip_by_rms(limit: float) -> optax.GradientTransformation:
  """Scale each layer's update down to a root mean square of `limit`."""

  def clip(path, update):
    axes = _layer_axes(path, update)
    mean = jnp.mean(jnp.square(update), axis=axes, keepdims=True)
    return update / jnp.maximum(1.0, jnp.sqrt(mean) / limit)

  return optax.stateless(
    lambda updates, params: jax.tree.map_with_path(clip, updates)
  )
