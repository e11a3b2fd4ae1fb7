"""Program of a run: its training step, and the shapes it is compiled for."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import optax

from models import dual_encoder
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import (
  flops,
  metrics,
  objectives,
  optimizer,
  train_state,
  train_step,
)


@dataclasses.dataclass(frozen=True)
class StepProgram:
  """A training step, with all that compiling it and beginning a run takes.

  Attributes:
    step: training step, to be traced with the mesh in use (jax.set_mesh).
    state: ShapeDtypeStructs with shardings.
    batch: ShapeDtypeStructs with shardings, of the global batch.
    batch_of: arrays by name, as the loader yields them -> batch.
    init_params: key -> new variables, parameters and running statistics.
    optimizer: optimizer of the parameters.
  """

  step: train_step.TrainStep
  state: train_state.TrainState
  batch: Any
  batch_of: Callable[[dict[str, Any]], Any]
  init_params: Callable[[jax.Array], Any]
  optimizer: optax.GradientTransformation


def check(config: config_lib.Config, mesh: jax.sharding.Mesh) -> None:
  """Raise ValueError for a batch that the step cannot split evenly."""
  mesh_lib.check_batch_size(
    config.batch_size,
    mesh,
    {
      "num_microbatches": config.num_microbatches,
      "model.remat_chunks": config.model.remat_chunks,
    },
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
  """Return the program of `config` on `mesh`; makes no array, compiles nothing.

  Not to be called under jax.set_mesh of an abstract mesh: the abstract key
  would be made on it.
  """
  sharding = mesh_lib.batch_sharding(mesh)
  init_params = functools.partial(dual_encoder.init_params, config.model)
  objective = objectives.make(config)
  opt = optimizer.make_optimizer(
    config.optimizer,
    jax.eval_shape(init_params, jax.random.key(0)),
    config.total_steps,
  )
  return StepProgram(
    step=train_step.make_train_step(config, objective, opt),
    state=train_state.make_abstract(
      init_params, opt, config.partition_rules, mesh
    ),
    batch=jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      objective.batch,
    ),
    batch_of=objective.batch_of,
    init_params=init_params,
    optimizer=opt,
  )


def compile_step(
  program: StepProgram, mesh: jax.sharding.Mesh
) -> tuple[Callable[..., Any], dict[str, float]]:
  """Compile the step; return it with its time, FLOPs and memory."""
  traced = (program.step, program.state, program.batch)
  start = time.monotonic()
  compiled = train_step.compile_train_step(*traced, mesh)
  seconds = time.monotonic() - start
  memory = compiled.memory_analysis()
  facts = {
    "compile/seconds": seconds,
    "compile/step_gflop": flops.count(*traced) / 1e9,
    "compile/num_parameters": train_state.count_params(program.state.params),
    "compile/num_devices": mesh.size,
    "compile/argument_mib": _mib(memory, "argument_size_in_bytes"),
    "compile/temporary_mib": _mib(memory, "temp_size_in_bytes"),
  }
  metrics.say(
    f"{facts['compile/num_parameters'] / 1e6:.2f} M parameters,"
    f" {facts['compile/step_gflop']:,.1f} GFLOP a step,"
    f" {mesh.size} {jax.devices()[0].platform} device(s), each with"
    f" {facts['compile/argument_mib']:,.0f} MiB of state and batch and"
    f" {facts['compile/temporary_mib']:,.0f} MiB of temporaries;"
    f" compiled in {seconds:.1f} s"
  )
  return compiled, facts


def _mib(memory: Any, field: str) -> float:
  """Return a figure of the compiler's memory analysis, which may have none."""
  return getattr(memory, field, 0) / 2**20
