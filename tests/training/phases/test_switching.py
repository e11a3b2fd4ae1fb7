"""State of the next phase, made of the last one of the phase before."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from models import dual_encoder
from models.pretrained import positions
from runtime import mesh as mesh_lib
from tests import runs, tiny_phases
from training import config as config_lib
from training import optimizer as optimizer_lib
from training import train_state, train_step
from training.phases import switching

_POSITION = "params/img/position"


@functools.cache
def _mesh():
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])


@functools.cache
def _config():
  return config_lib.checked(tiny_phases.get_config().to_dict())


def _program(index):
  stage = config_lib.stages(_config())[index]
  return stage, train_step.make(stage.config, _mesh(), span=stage.span)


@functools.cache
def _state():
  """Return a state whose moments are not zero, as after some steps."""
  _, program = _program(1)
  state = train_state.init(
    program.init_params, program.optimizer, program.state, seed=0
  )
  rng = np.random.default_rng(0)

  def drawn(x):
    if x.dtype != np.float32:
      return x + 12  # counts
    return jax.device_put(rng.random(x.shape, np.float32), x.sharding)

  return jax.tree.map(drawn, state)


@functools.cache
def _switched():
  stage, program = _program(2)
  return switching.leaves(
    switching.switch(_state(), program, stage.config.model, seed=0)
  )


def test_arrays_of_equal_shape_are_the_same_to_the_bit():
  old, new = switching.leaves(_state()), _switched()
  assert old.keys() == new.keys()
  for path, array in old.items():
    if not path.endswith("img/position"):
      assert array.dtype == new[path].dtype
      assert np.asarray(array).tobytes() == np.asarray(new[path]).tobytes()


def test_positions_and_their_moments_are_resized_within_their_range():
  old, new = switching.leaves(_state()), _switched()
  paths = [path for path in old if path.endswith("img/position")]
  assert len(paths) == 3, "the parameter and two moments"
  for path in paths:
    before, after = np.asarray(old[path]), np.asarray(new[path])
    assert (before.shape[0], after.shape[0]) == (4, 9)
    want = positions.resize_grid(0)(before, after.shape)
    np.testing.assert_array_equal(
      after, np.clip(want, before.min(), before.max())
    )
    assert after.min() >= 0, "a second moment has a root"


def test_the_state_fits_the_program_of_its_phase():
  _, program = _program(2)
  for path, target in switching.leaves(program.state).items():
    assert _switched()[path].shape == target.shape
    assert _switched()[path].sharding == target.sharding


def test_a_switch_is_repeated_to_the_bit():
  stage, program = _program(2)
  again = switching.leaves(
    switching.switch(_state(), program, stage.config.model, seed=0)
  )
  for path, array in _switched().items():
    assert np.asarray(array).tobytes() == np.asarray(again[path]).tobytes()


def _with_more(stage, program, **parts):
  """Return a program of a model with another parameter."""

  def init_params(key):
    more = jax.random.normal(jax.random.fold_in(key, 9), (3,))
    return program.init_params(key) | {"more": more}

  rules = ((r"more", ()), *stage.config.partition_rules)
  variables = jax.eval_shape(init_params, jax.random.key(0))
  optimizer = optimizer_lib.make_optimizer(stage.config.optimizer, variables, 4)
  state = train_state.make_abstract(init_params, optimizer, rules, _mesh())
  return dataclasses.replace(
    program,
    init_params=init_params,
    optimizer=optimizer,
    state=dataclasses.replace(state, **parts),
  )


def test_new_parameters_are_those_of_step_0_and_old_ones_stay():
  stage, program = _program(2)
  program = _with_more(stage, program, ema=program.state.params)
  made = switching.switch(_state(), program, stage.config.model, seed=3)
  fresh = program.init_params(jax.random.key(3))["more"]
  np.testing.assert_array_equal(made.params["more"], fresh)
  new, old = switching.leaves(made), switching.leaves(_state())
  slots = [path for path in new if path.endswith("/more") and path not in old]
  assert sum("opt_state" in path for path in slots) == 2
  for path in slots:
    if "opt_state" in path:
      assert not np.asarray(new[path]).any()
  for path in old:
    if path.startswith("params/"):  # an averaged copy begins as its parameter
      copy = new[path.replace("params/", "ema/", 1)]
      np.testing.assert_array_equal(copy, new[path])


def test_a_shape_without_a_rule_is_refused_by_name():
  stage, program = _program(2)
  old = switching.leaves(_state())
  old["params/img/patch/kernel"] = np.zeros((3, 3), np.float32)
  message = r"parameter img/patch/kernel has the shape \(3, 3\) in the phase"
  with pytest.raises(ValueError, match=message):
    switching.actions_of(
      old, switching.leaves(program.state), stage.config.model
    )


def test_a_factored_moment_of_another_shape_begins_anew():
  path = f"opt_state/v_row/{_POSITION.removeprefix('params/')}"
  old = {_POSITION: np.zeros((4, 16)), path: np.zeros(4)}
  targets = {_POSITION: np.zeros((9, 16)), path: np.zeros(9)}
  stage, _ = _program(2)
  assert switching.actions_of(old, targets, stage.config.model) == {
    _POSITION: "resize",
    path: "new",
  }


def test_check_accepts_what_can_be_switched():
  switching.check(_config(), _mesh())


def test_check_names_the_phase_of_a_shape_that_cannot(monkeypatch):
  monkeypatch.setattr(positions, "TOWERS", {})
  with pytest.raises(ValueError, match=r"phases\.large: the parameter img/pos"):
    switching.check(_config(), _mesh())


def test_rules_are_those_of_the_tower():
  model = runs.make_config().model
  assert isinstance(model, dual_encoder.ModelConfig)
  assert positions.rule_of(model, "img/position") is not None
  assert positions.rule_of(model, "img/patch/kernel") is None
  assert positions.rule_of(model, "log_scale") is None
