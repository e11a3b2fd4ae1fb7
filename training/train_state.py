"""State of a training run, every array made in its final sharding."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from models import batch_norm
from runtime import mesh as mesh_lib
from runtime import param_rules

# Parameters -> the part of them that a teacher averages.
AveragedFn = Callable[[Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Arrays of a run; a checkpoint holds all of them.

  Attributes:
    step: int32 scalar, number of updates made so far.
    params: trained parameters, nested dict of float32 arrays.
    opt_state: state of the optimizer.
    stats: running statistics (models/batch_norm.py), a nested dict of float32
      arrays; empty for a model without any.
    ema: averaged or teacher copy of the parameters; empty for an objective
      without one.
  """

  step: Any
  params: Any
  opt_state: Any
  stats: Any = dataclasses.field(default_factory=dict)
  ema: Any = dataclasses.field(default_factory=dict)

  @property
  def variables(self) -> Any:
    """Return parameters and statistics in one tree, as a model takes them."""
    return batch_norm.join(self.params, self.stats)


def make_abstract(
  init_params: Callable[[jax.Array], Any],
  optimizer: optax.GradientTransformation,
  partition_rules: Any,
  mesh: jax.sharding.Mesh,
  averaged: AveragedFn | None = None,
) -> TrainState:
  """Return the state as ShapeDtypeStructs with shardings; makes no array."""
  init = _init_fn(init_params, optimizer, averaged)
  shapes = jax.eval_shape(init, jax.random.key(0))
  variables = shapes.variables
  shardings = mesh_lib.param_shardings(partition_rules, variables, mesh)
  like = mesh_lib.like_params(shapes, variables, shardings, mesh)
  return jax.tree.map(
    lambda shape, sharding: jax.ShapeDtypeStruct(
      shape.shape, shape.dtype, sharding=sharding
    ),
    shapes,
    like,
  )


def init(
  init_params: Callable[[jax.Array], Any],
  optimizer: optax.GradientTransformation,
  abstract: TrainState,
  seed: int,
  initial: Any = None,
  averaged: AveragedFn | None = None,
) -> TrainState:
  """Make the state of step 0, every array built in its sharding.

  Args:
    init_params: key -> new variables, parameters and statistics.
    optimizer: optimizer of the run.
    abstract: result of `make_abstract`.
    seed: seed of the variables that `initial` lacks.
    initial: nested dict of initial variables, all or a part, each in its
      sharding; donated, not to be used afterwards.
    averaged: function from parameters to the part whose copy `ema` begins as.
  """
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  make = jax.jit(
    _init_fn(init_params, optimizer, averaged),
    out_shardings=shardings,
    donate_argnums=1,
  )
  return make(jax.random.key(seed), initial or {})


def init_leaves(
  init_params: Callable[[jax.Array], Any],
  optimizer: optax.GradientTransformation,
  abstract: TrainState,
  seed: int,
  paths: Sequence[str],
) -> dict[str, jax.Array]:
  """Return some arrays of the state of step 0, the others are not made.

  Args:
    init_params: key -> new variables.
    optimizer: optimizer of the run.
    abstract: result of `make_abstract`.
    seed: seed of the variables.
    paths: paths of the arrays, as "params/img/position".
  """
  if not paths:
    return {}

  def some(state: Any) -> dict[str, Any]:
    named = jax.tree.leaves_with_path(state)
    leaves = {param_rules.path_string(path): leaf for path, leaf in named}
    return {path: leaves[path] for path in paths}

  make = _init_fn(init_params, optimizer)
  shardings = jax.tree.map(lambda x: x.sharding, some(abstract))
  # XLA drops the computation of the others.
  jitted = jax.jit(lambda key: some(make(key)), out_shardings=shardings)
  return jitted(jax.random.key(seed))


def _init_fn(
  init_params, optimizer, averaged: AveragedFn | None = None
) -> Callable[..., TrainState]:
  def make(key: jax.Array, initial: Any = None) -> TrainState:
    # XLA drops the computation of leaves that are overlaid.
    variables = _overlaid(init_params(key), initial or {})
    params, stats = batch_norm.split(variables)
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=optimizer.init(params),
      stats=stats,
      # A copy: an array cannot be donated twice.
      ema=jax.tree.map(jnp.copy, averaged(params)) if averaged else {},
    )

  return make


def _overlaid(params: Any, initial: Any) -> Any:
  return {
    name: (
      leaf
      if name not in initial
      else _overlaid(leaf, initial[name])
      if isinstance(leaf, dict)
      else initial[name]
    )
    for name, leaf in params.items()
  }


def count_params(variables: Any) -> int:
  """Return the number of parameters; running statistics do not count."""
  params, _ = batch_norm.split(variables)
  return sum(leaf.size for leaf in jax.tree.leaves(params))
