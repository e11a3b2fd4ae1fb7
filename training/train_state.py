"""What a run changes from step to step, made where it will lie."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from models import batch_norm
from runtime import mesh as mesh_lib
from runtime import param_rules


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Arrays only; all of it is saved in a checkpoint."""

  step: Any  # int32 scalar: updates made so far
  params: Any  # nested dict of float32 arrays
  opt_state: Any


def make_abstract(
  init_params: Callable[[jax.Array], Any],
  optimizer: optax.GradientTransformation,
  partition_rules: Any,
  mesh: jax.sharding.Mesh,
) -> TrainState:
  """Return the state as ShapeDtypeStructs with shardings; makes no array."""
  init = _init_fn(init_params, optimizer)
  shapes = jax.eval_shape(init, jax.random.key(0))
  shardings = mesh_lib.param_shardings(partition_rules, shapes.params, mesh)
  like = mesh_lib.like_params(shapes, shapes.params, shardings, mesh)
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
  given: Any = None,
) -> TrainState:
  """Make the state of step 0, every array built where it will lie.

  Args:
    init_params: of a key.
    optimizer: of the run.
    abstract: from `make_abstract`.
    seed: of the parameters that are not given.
    given: nested dict of parameters to begin with, some or all, each in its
      sharding; not to be used afterwards.
  """
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  make = jax.jit(
    _init_fn(init_params, optimizer),
    out_shardings=shardings,
    donate_argnums=1,
  )
  return make(jax.random.key(seed), given or {})


def _init_fn(init_params, optimizer) -> Callable[..., TrainState]:
  def make(key: jax.Array, given: Any = None) -> TrainState:
    # What is overlaid is never computed: XLA drops it.
    params = _overlaid(init_params(key), given or {})
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=optimizer.init(params),
    )

  return make


def _overlaid(params: Any, given: Any) -> Any:
  return {
    name: (
      leaf
      if name not in given
      else _overlaid(leaf, given[name])
      if isinstance(leaf, dict)
      else given[name]
    )
    for name, leaf in params.items()
  }


def count_params(params: Any) -> int:
  """Return the number of parameters; running statistics are none."""
  return sum(
    leaf.size
    for path, leaf in jax.tree.leaves_with_path(params)
    if not batch_norm.is_statistic(param_rules.path_string(path))
  )
