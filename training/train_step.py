"""Training step: gradient, clipping, optimizer; its shapes and compilation."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import P

from models import batch_norm
from runtime import checks
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import flops, objectives, train_state
from training import metrics as metrics_lib
from training import optimizer as optimizer_lib
from training import schedule as schedule_lib
from training.curating import super_batch
from training.curating import teacher as teacher_lib
from training.objectives import gradients
from training.objectives import objective as objective_lib

Metrics = dict[str, jax.Array]
Stepped = tuple[train_state.TrainState, Metrics]
TrainStep = Callable[..., Stepped]
# Folded into the seed's key: towers, parameters and the selection of rows draw
# different numbers.
_DRAWS, _SELECTS = 1, 2


@dataclasses.dataclass(frozen=True)
class StepProgram:
  """A training step, with all that compiling it and beginning a run takes.

  Attributes:
    step: training step, to be traced with the mesh in use (jax.set_mesh).
    numbers: function of no arguments that returns the step's third argument:
      numbers of the config that are no part of the compiled program, so that
      runs which differ in them alone share it.
    state: ShapeDtypeStructs with shardings.
    batch: ShapeDtypeStructs with shardings, of the global batch; with curating,
      of the super-batch.
    batch_of: arrays by name, as the loader yields them -> batch.
    init_params: key -> new variables, parameters and running statistics.
    optimizer: optimizer of the parameters.
    averaged: `Objective.averaged`.
    teacher: the step's fourth argument, parameters of config.curating.teacher
      as ShapeDtypeStructs with shardings; None without curating.
  """

  step: TrainStep
  numbers: Callable[[], dict[str, Any]]
  state: train_state.TrainState
  batch: Any
  batch_of: Callable[[dict[str, Any]], Any]
  init_params: Callable[[jax.Array], Any]
  optimizer: optax.GradientTransformation
  averaged: train_state.AveragedFn | None = None
  teacher: Any = None


def check(config: config_lib.Config, mesh: jax.sharding.Mesh) -> None:
  """Raise ValueError for what the step cannot be made with.

  That is a batch that it cannot split or learn from, and rules that do not fit
  the parameters.
  """
  mesh_lib.check_batch_size(
    config.batch_size,
    mesh,
    {
      "num_microbatches": config.num_microbatches,
      "num_largest_updates": config.num_largest_updates,
      "model.remat_chunks": config.model.remat_chunks,
    },
  )
  group = config.model.batch_norm_group
  shards = mesh_lib.num_batch_shards(mesh)
  rows = config.batch_size // (shards * config.num_microbatches)
  if group and rows % group:
    checks.refuse(
      f"model.image.batch_norm_group={group} must divide the images that a"
      f" device embeds at a time: batch_size={config.batch_size} /"
      f" {shards} devices / num_microbatches={config.num_microbatches}; got"
      f" {rows}"
    )
  if not (config.fusion.kind or config.detection.is_on):
    _check_negatives(config, shards)
    with checks.collected():
      # Named although `make` may end at the optimizer's rules before.
      shapes = objectives.variable_shapes(config)
      mesh_lib.param_shardings(config.partition_rules, shapes, mesh)
  if config.curating.is_on:
    mesh_lib.check_batch_size(
      config.num_rows_read,
      mesh,
      field="batch_size / (1 - curating.filter_ratio)",
    )
    with checks.collected():
      teacher_lib.check(config)
  with checks.collected():
    make(config, mesh)


def _check_negatives(config: config_lib.Config, num_shards: int) -> None:
  """Raise ValueError for a loss that compares each pair with itself alone."""
  parts = {
    "global": {},
    "device": {"data x fsdp devices": num_shards},
    "microbatch": {"num_microbatches": config.num_microbatches},
  }[config.loss.scope]
  if config.num_largest_updates > 1:
    parts = parts | {"num_largest_updates": config.num_largest_updates}
  rows = config.batch_size // math.prod(parts.values())
  if rows < 2:
    divided = "".join(f" / {n} {name}" for name, n in parts.items())
    checks.refuse(
      f"loss.scope={config.loss.scope!r} compares"
      f" batch_size={config.batch_size}{divided} rows with each other; expected"
      f" at least 2, since a lone pair has no negative; got {rows}"
    )


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  objective: objective_lib.Objective | None = None,
  *,
  span: schedule_lib.Span | None = None,
) -> StepProgram:
  """Return the program of `config` on `mesh`; makes no array, compiles nothing.

  With curating, the description of its teacher is read, no array of it. Call it
  outside of jax.set_mesh with an abstract mesh: the abstract key would be made
  on that mesh.

  Args:
    config: checked.
    mesh: mesh of the run.
    objective: kind of training, by default that of objectives.make.
    span: steps of the schedule of the learning rate; None for all steps.
  """
  span = span or schedule_lib.Span(0, config.total_steps)
  sharding = mesh_lib.batch_sharding(mesh)
  objective = objective or objectives.make(config)
  init_params = objective.init_params
  make_optimizer = functools.partial(
    optimizer_lib.make_optimizer,
    variables=jax.eval_shape(init_params, jax.random.key(0)),
    total_steps=span.num_steps,
    span=span,
  )
  optimizer = make_optimizer(config.optimizer)
  draw, teacher = None, None
  if config.curating.is_on:
    source = teacher_lib.find(config)
    draw = super_batch.make(config, source.model)
    teacher = teacher_lib.abstract(source, config, mesh)

  def of_batch(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    shape = x.shape if draw is None else (config.num_rows_read, *x.shape[1:])
    return jax.ShapeDtypeStruct(shape, x.dtype, sharding=sharding)

  return StepProgram(
    step=make_train_step(config, objective, make_optimizer, span, draw),
    numbers=functools.partial(_numbers, config),
    state=train_state.make_abstract(
      init_params,
      optimizer,
      config.partition_rules,
      mesh,
      objective.averaged,
    ),
    batch=jax.tree.map(of_batch, objective.batch),
    batch_of=objective.batch_of,
    init_params=init_params,
    optimizer=optimizer,
    averaged=objective.averaged,
    teacher=teacher,
  )


def make_train_step(
  config: config_lib.Config,
  objective: objective_lib.Objective,
  make_optimizer: Callable[
    [optimizer_lib.OptimizerConfig], optax.GradientTransformation
  ],
  span: schedule_lib.Span,
  draw: super_batch.DrawFn | None = None,
) -> TrainStep:
  """Return step(state, batch, numbers, teacher) -> (state, metrics).

  It is to be compiled. `batch` is as `objective.batch`, its rows split over
  BATCH_AXES; metrics are float32 scalars. Both are for the mesh in use
  (jax.set_mesh). Without `numbers` those of the config are constants of the
  program. With `draw`, `batch` is a super-batch, and `teacher` has the
  variables that `draw` takes.
  """
  schedule = config.optimizer.make_schedule(span.num_steps, span)
  num_updates = config.num_largest_updates

  def step(state, batch, numbers=None, teacher=None):
    numbers = numbers or _numbers(config)
    optimizer = make_optimizer(
      dataclasses.replace(
        config.optimizer,
        learning_rate=numbers["learning_rate"],
        weight_decay=numbers["weight_decay"],
      )
    )
    selected = {}
    if draw is not None:
      key = jax.random.fold_in(numbers["key"], _SELECTS)
      key = jax.random.fold_in(key, state.step)
      batch, selected = draw(state.variables, teacher, batch, key)
    batch = with_keys(config, objective, batch, numbers, state.step)
    if num_updates == 1:
      state, metrics = update(state, batch, optimizer)
    else:
      state, metrics = _in_parts(
        lambda state, part: update(state, part, optimizer),
        *(state, batch, num_updates),
      )
    learning_rate = numbers["learning_rate"] * schedule(state.step)
    metrics |= {"train/learning_rate": learning_rate} | selected
    if config.data.augmentation.patch_counts:
      (count,) = config.data.augmentation.patch_counts
      metrics |= {"train/num_patches": jnp.float32(count)}
    return dataclasses.replace(state, step=state.step + 1), metrics

  def update(state, batch, optimizer):
    """Return the state after an update, its step as it was, and metrics."""
    bound = objective.bind(state.ema) if objective.bind else objective
    gradient = gradients.make(config, bound)
    (loss, stats), grads = gradient(state.params, state.stats, batch)
    stats, measured = objective.measured(stats)
    grad_norm = optax.tree.norm(grads)
    grads = optimizer_lib.clip_by_global_norm(
      grads, grad_norm, config.optimizer.clip_norm
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    if config.model.scale_max and "log_scale" in params:
      limit = math.log(config.model.scale_max)
      params["log_scale"] = jnp.minimum(params["log_scale"], limit)
    metrics = {
      "train/loss": loss,
      "train/grad_norm": grad_norm,
      **objective.metrics(state.params),
      **measured,
    }
    state = dataclasses.replace(
      state,
      params=params,
      opt_state=opt_state,
      stats=batch_norm.join(state.stats, stats),
      ema=_averages(config, objective, state, params),
    )
    return state, metrics

  return step


def split(batch: Any, count: int) -> Any:
  """Return `count` parts of a batch, arrays [count, B / count, ...].

  Part i has the rows i, i + count, i + 2 count, ...: the same rows on any
  number of devices, and no row changes its device.
  """
  parts = jax.tree.map(
    lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch
  )
  return jax.lax.with_sharding_constraint(parts, P(None, mesh_lib.BATCH_AXES))


def _in_parts(
  update: Callable[[train_state.TrainState, Any], Stepped],
  state: train_state.TrainState,
  batch: Any,
  count: int,
) -> Stepped:
  """Make an update of each part of `split`, at one learning rate.

  Returns:
    The last state, and the means of the metrics.
  """
  parts = split(batch, count)

  def body(state, part):
    made, metrics = update(state, part)
    kept = optimizer_lib.with_place_of(made.opt_state, state.opt_state)
    return dataclasses.replace(made, opt_state=kept), metrics

  made, metrics = jax.lax.scan(body, state, parts)
  opt_state = optimizer_lib.with_place_of(made.opt_state, state.opt_state, 1)
  means = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
  return dataclasses.replace(made, opt_state=opt_state), means


def _averages(
  config: config_lib.Config,
  objective: objective_lib.Objective,
  state: train_state.TrainState,
  params: Any,
) -> Any:
  """Return the averages after a step; `state` is the one before it."""
  if objective.averaged is None:
    return state.ema
  kept = config.distillation.momentum_at(state.step, config.total_steps)
  return jax.tree.map(
    lambda old, new: kept * old + (1 - kept) * new,
    state.ema,
    objective.averaged(params),
  )


def _numbers(config: config_lib.Config) -> dict[str, Any]:
  """Return numbers of a config that need no program of their own."""
  return {
    "learning_rate": jnp.float32(config.optimizer.learning_rate),
    "weight_decay": jnp.float32(config.optimizer.weight_decay),
    "key": jax.random.key(config.seed),
  }


def with_keys(
  config: config_lib.Config,
  objective: objective_lib.Objective,
  batch: Any,
  numbers: dict[str, Any],
  step: jax.Array,
) -> Any:
  """Return a batch with a random key for each row, if the objective draws."""
  if not objective.draws:
    return batch
  key = jax.random.fold_in(numbers["key"], _DRAWS)
  fold_in = functools.partial(jax.random.fold_in, jax.random.fold_in(key, step))
  keys = jax.vmap(fold_in)(jnp.arange(config.batch_size))
  return objective.prepare(dataclasses.replace(batch, keys=keys))


def compile_step(
  program: StepProgram, mesh: jax.sharding.Mesh
) -> jax.stages.Compiled:
  """Compile the step ahead of time; the compiled step donates its state.

  Its third argument is `numbers`, its fourth, with curating, the teacher; see
  `with_numbers`.
  """
  return lower_step(program, mesh).compile()


def lower_step(
  program: StepProgram, mesh: jax.sharding.Mesh
) -> jax.stages.Lowered:
  """Return the step as the compiler gets it."""
  return trace_step(program, mesh).lower()


def trace_step(
  program: StepProgram, mesh: jax.sharding.Mesh
) -> jax.stages.Traced:
  """Return the traced step; `mesh` may be abstract, if it is in use."""
  shardings = jax.tree.map(lambda x: x.sharding, program.state)
  numbers = abstract_on_all(jax.eval_shape(program.numbers), mesh)
  jitted = jax.jit(
    program.step,
    donate_argnums=0,
    out_shardings=(shardings, mesh_lib.replicated(mesh)),
  )
  teacher = () if program.teacher is None else (program.teacher,)
  return jitted.trace(program.state, program.batch, numbers, *teacher)


def abstract_on_all(arrays: Any, mesh: jax.sharding.Mesh) -> Any:
  """Return the shapes and types of arrays, replicated over a mesh."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=mesh_lib.replicated(mesh)
    ),
    arrays,
  )


def made_numbers(
  program: StepProgram, mesh: jax.sharding.Mesh
) -> dict[str, Any]:
  """Return the numbers of a program's config, replicated over a mesh."""
  return jax.jit(program.numbers, out_shardings=mesh_lib.replicated(mesh))()


def with_numbers(
  compiled: jax.stages.Compiled,
  program: StepProgram,
  mesh: jax.sharding.Mesh,
  teacher: Any = None,
) -> Callable[[train_state.TrainState, Any], Stepped]:
  """Return step(state, batch) with the numbers of the program's config.

  Args:
    compiled: result of `compile_step`.
    program: program that was compiled.
    mesh: mesh of the run.
    teacher: arrays as `program.teacher`; None without curating.
  """
  fixed = (
    made_numbers(program, mesh),
    *(() if teacher is None else (teacher,)),
  )
  return lambda state, batch: compiled(state, batch, *fixed)


def compile_with_facts(
  program: StepProgram, mesh: jax.sharding.Mesh, teacher: Any = None
) -> tuple[Callable[..., Any], dict[str, float]]:
  """Compile the step; return it with its time, FLOPs and memory.

  Args:
    program: program to compile.
    mesh: mesh of the run.
    teacher: arrays as `program.teacher`; None without curating.
  """
  start = time.monotonic()
  compiled = compile_step(program, mesh)
  seconds = time.monotonic() - start
  memory = compiled.memory_analysis()
  facts = {
    "compile/seconds": seconds,
    "compile/step_gflop": count_flops(program) / 1e9,
    "compile/num_parameters": train_state.count_params(program.state.params),
    "compile/num_devices": mesh.size,
    "compile/argument_mib": _mib(memory, "argument_size_in_bytes"),
    "compile/temporary_mib": _mib(memory, "temp_size_in_bytes"),
  }
  metrics_lib.say(
    f"{facts['compile/num_parameters'] / 1e6:.2f} M parameters,"
    f" {facts['compile/step_gflop']:,.1f} GFLOP a step,"
    f" {mesh.size} {jax.devices()[0].platform} device(s), each with"
    f" {facts['compile/argument_mib']:,.0f} MiB of state and batch and"
    f" {facts['compile/temporary_mib']:,.0f} MiB of temporaries;"
    f" compiled in {seconds:.1f} s"
  )
  return with_numbers(compiled, program, mesh, teacher), facts


def count_flops(program: StepProgram) -> int:
  """Return the FLOPs of a step, for the mesh in use; see training/flops.py."""
  return flops.count(
    *(program.step, program.state, program.batch), None, program.teacher
  )


def _mib(memory: Any, field: str) -> float:
  """Return a figure of the compiler's memory analysis, which may have none."""
  return getattr(memory, field, 0) / 2**20
