"""State of the next phase, made of the last state of the phase before.

The new state is a function of the old one, the phase's config and the seed. By
the path of an array:

- Arrays of equal shape are the same to the bit, whatever their sharding.
- A parameter of another shape is resized by its tower's rule
  (models/pretrained/positions.py, TOWERS), as weights are that are read for
  another size. Its moments are resized by the same rule, and clipped to the
  range of the old array: a bicubic filter overshoots, and a second moment must
  not be negative. Other arrays of the optimizer whose shape changes (factored
  moments) begin anew.
- A parameter that was not there is drawn from the seed, as at step 0, and its
  optimizer slots begin at zero: Adam's corrections count the run's steps, so
  its first updates are as large as those of a gradient that appears late. A new
  averaged copy (TrainState.ema) begins as a copy of its parameter.
- Arrays that the new phase does not have are dropped.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models import dual_encoder
from models.pretrained import mapping, positions
from runtime import checks, param_rules
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import train_state, train_step

# Parts of a state whose arrays have paths of parameters.
_PARAMS, _STATS, _EMA = "params/", "stats/", "ema/"
_KEEP, _RESIZE, _NEW, _COPY = "keep", "resize", "new", "copy"


def switch(
  state: train_state.TrainState,
  program: train_step.StepProgram,
  model: dual_encoder.ModelConfig,
  seed: int,
) -> train_state.TrainState:
  """Return the state that a phase begins with.

  Args:
    state: last state of the phase before; its arrays may become those of the
      new state.
    program: step of the new phase.
    model: model of the new phase.
    seed: seed of new parameters.

  Raises:
    ValueError: a parameter has another shape, and no rule resizes it; `check`
      finds it before step 0.
  """
  old = leaves(state)
  targets = leaves(program.state)
  actions = actions_of(old, targets, model)
  new_paths = [path for path, action in actions.items() if action == _NEW]
  fresh = train_state.init_leaves(
    program.init_params, program.optimizer, program.state, seed, new_paths
  )
  whole = program.state.step.sharding  # a scalar is on all devices
  made: dict[str, jax.Array] = {}
  for path, target in targets.items():  # parameters before their copies
    action = actions[path]
    if action == _NEW:
      made[path] = fresh[path]
    elif action == _KEEP:
      made[path] = jax.device_put(old[path], target.sharding)
    elif action == _COPY:  # an array cannot be donated twice
      copied = jax.jit(jnp.copy, out_shardings=target.sharding)
      made[path] = copied(made[path.replace(_EMA, _PARAMS, 1)])
    else:
      array = resized(
        _whole(old[path], whole), target.shape, _rule(path, model)
      )
      made[path] = mesh_lib.placed(array.astype(target.dtype), target)
  structure = jax.tree.structure(program.state)
  return jax.tree.unflatten(structure, made.values())


@checks.collected()
def check(config: config_lib.Config, mesh: jax.sharding.Mesh) -> None:
  """Raise ValueError where a phase's state cannot be made of the one before.

  Args:
    config: checked, and so is each phase.
    mesh: mesh of the run; makes no array on it.
  """
  before = None
  for stage in config_lib.stages(config):
    program = train_step.make(stage.config, mesh, span=stage.span)
    targets = leaves(program.state)
    if before is not None:
      with checks.named(stage.prefix), checks.collected():
        _check_pair(before, targets, stage.config.model)
    before = targets


def _check_pair(
  old: Mapping[str, Any],
  targets: Mapping[str, Any],
  model: dual_encoder.ModelConfig,
) -> None:
  """Raise ValueError where an array cannot be resized."""
  for path, action in actions_of(old, targets, model).items():
    if action == _RESIZE:
      zeros = np.zeros(old[path].shape, np.float32)
      resized(zeros, targets[path].shape, _rule(path, model))


def leaves(state: Any) -> dict[str, Any]:
  """Return the arrays of a state by path, as "params/img/position"."""
  return {
    param_rules.path_string(path): leaf
    for path, leaf in jax.tree.leaves_with_path(state)
  }


def actions_of(
  old: Mapping[str, Any],
  targets: Mapping[str, Any],
  model: dual_encoder.ModelConfig,
) -> dict[str, str]:
  """Return what is done for each array of the new state.

  Args:
    old: arrays of the old state, or their shapes, by path.
    targets: shapes of the new state.
    model: model of the new phase.

  Raises:
    ValueError: a parameter has another shape, and no rule resizes it.
  """
  actions = {}
  for path, target in targets.items():
    there = old.get(path)
    is_of_model = path.startswith((_PARAMS, _STATS, _EMA))
    if there is None:
      is_copy = path.startswith(_EMA) and (
        path.replace(_EMA, _PARAMS, 1) in targets
      )
      actions[path] = _COPY if is_copy else _NEW
    elif there.shape == target.shape and there.dtype == target.dtype:
      actions[path] = _KEEP
    elif _rule(path, model) is not None and _is_whole(path, old, there):
      actions[path] = _RESIZE
    elif is_of_model:
      raise ValueError(
        f"the parameter {path.partition('/')[2]} has the shape"
        f" {tuple(there.shape)} in the phase before, and {tuple(target.shape)}"
        " in this one; expected the same, or one whose tower has a rule for it"
        " (TOWERS in models/pretrained/positions.py)"
      )
    else:
      actions[path] = _NEW
  return actions


def resized(
  array: np.ndarray, shape: tuple[int, ...], rule: mapping.Resize | None
) -> np.ndarray:
  """Return an array in another shape, within the range of its values."""
  assert rule is not None  # `actions_of` asked
  made = np.asarray(rule(array, shape))
  return np.clip(made, array.min(), array.max())


def _rule(path: str, model: dual_encoder.ModelConfig) -> mapping.Resize | None:
  """Return the rule of a parameter, or of an array beside it."""
  parts = path.split("/")
  for start in range(len(parts)):
    rule = positions.rule_of(model, "/".join(parts[start:]))
    if rule is not None:
      return rule
  return None


def _is_whole(path: str, old: Mapping[str, Any], there: Any) -> bool:
  """Return whether an array has its parameter's shape, as a moment has."""
  parts = path.split("/")
  return any(
    (param := old.get(_PARAMS + "/".join(parts[start:]))) is not None
    and param.shape == there.shape
    for start in range(len(parts))
  )


def _whole(array: jax.Array, sharding: jax.sharding.Sharding) -> np.ndarray:
  """Return an array on this host, by way of a sharding that is replicated."""
  return np.asarray(jax.device_put(array, sharding))
