"""Norms of the gradient of each loss of a step, apart from the others'.

A joint objective sums losses that share an image tower. How much each one moves
the tower is seen in the norm of its own gradient, with its weight:
"gradients/decoder" over all parameters, "gradients/decoder/img" over the image
tower. They are taken every `log_gradients_every_steps` steps, of the state and
the batch of that step, before its update. Each loss costs one more gradient in
these steps, one after the other by one program; other steps cost nothing.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from runtime import checks
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import (
  metrics,
  objectives,
  patch_programs,
  train_state,
  train_step,
)
from training.objectives import gradients, joint
from training.objectives import objective as objective_lib

_FIELD = "log_gradients_every_steps"
# (state, batch) -> name of a figure -> float32 scalar.
NormsFn = Callable[[train_state.TrainState, Any], dict[str, jax.Array]]


def check(config: config_lib.Config) -> None:
  """Raise ValueError, naming the field, where no norms can be taken."""
  every = config.log_gradients_every_steps
  if not every:
    return
  if not any(joint.is_on(x.config) for x in config_lib.stages(config)):
    checks.refuse(
      f"{_FIELD} must be 0 without decoding, distillation or captioning, as a"
      f" single loss has train/grad_norm; got {every}"
    )
  elif every % config.log_every_steps:
    checks.refuse(
      f"{_FIELD} must be a multiple of log_every_steps="
      f"{config.log_every_steps}, whose lines have the norms; got {every}"
    )


def make(
  config: config_lib.Config, objective: objective_lib.Objective
) -> Callable[..., dict[str, jax.Array]]:
  """Return norms(state, batch, numbers, weights_P), to be compiled.

  Its result has the norms of the gradient of the objective's losses, summed
  with float32 [P] weights: over all parameters, "", and over the image tower,
  "/img". Its other arguments are those of train_step.make_train_step.
  """

  def norms(state, batch, numbers, weights_P):
    batch = train_step.with_keys(config, objective, batch, numbers, state.step)
    if config.num_largest_updates > 1:
      parts = train_step.split(batch, config.num_largest_updates)
      batch = jax.tree.map(lambda x: x[0], parts)
    bound = objective.bind(state.ema) if objective.bind else objective

    def loss(params, embeddings, batch):
      losses = [x(params, embeddings, batch) for x in bound.parts.values()]
      return jnp.dot(weights_P, jnp.stack(losses))

    gradient = gradients.make(config, dataclasses.replace(bound, loss=loss))
    _, grads = gradient(state.params, state.stats, batch)
    return {"": optax.tree.norm(grads), "/img": optax.tree.norm(grads["img"])}

  return norms


def compile_norms(
  config: config_lib.Config,
  program: train_step.StepProgram,
  by_count: Mapping[int, train_step.StepProgram],
  mesh: jax.sharding.Mesh,
) -> NormsFn | None:
  """Compile the norms ahead of time, for the batches of one phase.

  None stands for no norms: a config without them, or a single loss.

  The function leaves the state to the step that follows.

  Args:
    config: checked.
    program: step of the batches.
    by_count: steps by the number of patches (patch_programs.py), or {}.
    mesh: mesh of the run.
  """
  if not (config.log_gradients_every_steps and joint.is_on(config)):
    return None
  objective = objectives.make(config)
  replicated = mesh_lib.replicated(mesh)
  numbers = train_step.made_numbers(program, mesh)
  one_hot_PP = np.eye(len(objective.parts), dtype=np.float32)
  weights = [jax.device_put(row_P, replicated) for row_P in one_hot_PP]
  compiled = {}
  for count, its_program in (by_count or {0: program}).items():
    its_config = patch_programs.of_count(config, count) if count else config
    compiled[count] = (
      jax.jit(make(its_config, objective), out_shardings=replicated)
      .lower(
        *(its_program.state, its_program.batch),
        *train_step.abstract_on_all((numbers, weights[0]), mesh),
      )
      .compile()
    )

  def norms(state, batch):
    count = batch.images.patches_bNP.shape[1] if by_count else 0
    found = {}
    for name, weights_P in zip(objective.parts, weights, strict=True):
      made = compiled[count](state, batch, numbers, weights_P)
      found |= {f"{metrics.GRADIENTS}{name}{end}": x for end, x in made.items()}
    return found

  return norms
