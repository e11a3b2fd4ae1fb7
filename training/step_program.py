"""What is compiled: the training step with the shapes that it is given."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from models import dual_encoder
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import optimizer, train_state, train_step


@dataclasses.dataclass(frozen=True)
class StepProgram:
  """A step, and all that it takes to compile it or to begin a run with it.

  Attributes:
    step: to be traced where the mesh is in use (jax.set_mesh).
    state: ShapeDtypeStructs with shardings, and so is the batch.
  """

  step: train_step.TrainStep
  state: train_state.TrainState
  batch: dict[str, jax.ShapeDtypeStruct]
  init_params: Callable[[jax.Array], Any]
  optimizer: optax.GradientTransformation


def check(config: config_lib.Config, mesh: jax.sharding.Mesh) -> None:
  """Raise ValueError where the batch cannot be cut as the step cuts it."""
  mesh_lib.check_batch_size(
    config.batch_size,
    mesh,
    num_microbatches=config.num_microbatches,
    remat_chunks=config.model.remat_chunks,
  )
  group = config.model.batch_norm_group
  shards = mesh_lib.num_batch_shards(mesh)
  rows = config.batch_size // (shards * config.num_microbatches)
  if group and rows % group:
    raise ValueError(
      f"model.image.batch_norm_group={group} must divide the images that a"
      f" device embeds at a time: batch_size={config.batch_size} /"
      f" {shards} devices / num_microbatches={config.num_microbatches}; got"
      f" {rows}"
    )


def make(config: config_lib.Config, mesh: jax.sharding.Mesh) -> StepProgram:
  """Return the step of `config` on `mesh`; makes no array, compiles nothing.

  Not to be called where a mesh that is not there is in use: the abstract key
  would be made on it.
  """
  init_params = functools.partial(dual_encoder.init_params, config.model)
  opt = optimizer.make_optimizer(
    config.optimizer,
    jax.eval_shape(init_params, jax.random.key(0)),
    config.total_steps,
  )
  return StepProgram(
    step=train_step.make_train_step(config, opt),
    state=train_state.make_abstract(
      init_params, opt, config.partition_rules, mesh
    ),
    batch=_abstract_batch(config, mesh),
    init_params=init_params,
    optimizer=opt,
  )


def _abstract_batch(config, mesh) -> dict[str, jax.ShapeDtypeStruct]:
  sharding = mesh_lib.batch_sharding(mesh)
  shapes: dict[str, tuple[tuple[int, ...], Any]] = {
    **config.data.augmentation.shapes(config.data.image_size),
    "tokens": ((config.data.num_tokens,), np.int32),
  }
  if config.loss.needs_labels:
    shapes["labels"] = ((), np.int32)
  return {
    name: jax.ShapeDtypeStruct(
      (config.batch_size, *shape), dtype, sharding=sharding
    )
    for name, (shape, dtype) in shapes.items()
  }
