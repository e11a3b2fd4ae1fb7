"""Programs of a step by number of patches: their updates, and their choice."""

import dataclasses

import jax
import numpy as np
import pytest

from runtime import mesh as mesh_lib
from tests import steps, tiny_naflex
from training import config as config_lib
from training import patch_programs, train_state, train_step

_LARGEST = max(tiny_naflex.COUNTS)


def _config(**changes):
  """Return NaFlex's phase without phases, at a constant rate."""
  stage = config_lib.stages(
    config_lib.checked(tiny_naflex.get_config().to_dict())
  )[1]
  config = dataclasses.replace(
    stage.config,
    optimizer=dataclasses.replace(
      stage.config.optimizer,
      schedule="constant",
      warmup_steps=0,
      epsilon=steps.FAST["optimizer.epsilon"],
      learning_rate=steps.FAST["optimizer.learning_rate"],
    ),
    **changes,
  )
  config.check()
  return config


def _mesh(num_devices=1):
  config = mesh_lib.MeshConfig(num_devices, 1, 1)
  return mesh_lib.make_mesh(config, jax.devices()[:num_devices])


def _rows(count, size=4):
  rng = np.random.default_rng(count)
  shapes = rng.integers(1, int(count**0.5) + 1, (size, 2)).astype(np.int32)
  return {
    "images": rng.integers(0, 256, (size, count, 48), np.uint8),
    "shapes": shapes,
    "tokens": rng.integers(1, 500, (size, 8)).astype(np.int32),
  }


def _state(program, mesh):
  with jax.set_mesh(mesh):
    return train_state.init(
      program.init_params, program.optimizer, program.state, 0
    )


def _run(programs, mesh, batches, state=None):
  """Return the state and metrics after batches, by the programs compiled."""
  first = next(iter(programs.values()))
  state = _state(first, mesh) if state is None else state
  seen = []
  with jax.set_mesh(mesh):
    step, facts = patch_programs.compile_with_facts(programs, mesh)
    for rows in batches:
      batch = steps.global_batch(rows, mesh)
      state, metrics = step(state, batch)
      seen.append(jax.device_get(metrics))
  return state, seen, facts


@pytest.fixture(scope="module")
def both():
  """Return the result of a batch of each number, and the programs."""
  config, mesh = _config(), _mesh()
  programs = patch_programs.make(config, mesh)
  assert [*programs] == [*tiny_naflex.COUNTS]
  batches = [_rows(_LARGEST), _rows(min(programs))]
  return _run(programs, mesh, batches)


def test_each_batch_has_the_program_of_its_number(both):
  state, seen, facts = both
  assert [x["train/num_patches"] for x in seen] == [12, 6]
  assert int(state.step) == 2, "two updates of a batch are one step"
  gflops = [facts[f"compile/step_gflop_{n}"] for n in tiny_naflex.COUNTS]
  assert gflops[0] < gflops[1]
  assert facts["compile/step_gflop"] == pytest.approx(sum(gflops) / 2)


def test_the_largest_batch_has_an_update_of_each_half(both):
  """As two steps of every other row have, but for the place in the schedule."""
  half = _config(batch_size=2, num_largest_updates=1)
  mesh, rows = _mesh(), _rows(_LARGEST)
  programs = patch_programs.make(half, mesh)
  halves = [{k: x[i::2] for k, x in rows.items()} for i in range(2)]
  wanted, seen, _ = _run({_LARGEST: programs[_LARGEST]}, mesh, halves)
  whole = patch_programs.make(_config(), mesh)
  got, (metrics,), _ = _run({_LARGEST: whole[_LARGEST]}, mesh, [rows])
  got, wanted = steps.arrays(got), steps.arrays(wanted)
  counts = {}
  for path, array in got.items():
    if path.endswith("count"):
      counts[path] = int(array), int(wanted[path])
    elif path != "step":
      np.testing.assert_allclose(array, wanted[path], atol=steps.ATOL)
  # Adam's corrections count updates, the schedule steps.
  assert {*counts.values()} == {(2, 2), (1, 2)}
  assert metrics["train/loss"] == pytest.approx(
    np.mean([x["train/loss"] for x in seen]), rel=1e-5
  )
  (first, _) = both[1]
  assert metrics["train/loss"] == first["train/loss"]


def test_devices_do_not_change_an_update():
  """Halves are of every other row, on two devices too."""
  program = {}
  for num_devices in (1, 2):
    mesh = _mesh(num_devices)
    made = patch_programs.make(_config(), mesh)
    state, _, _ = _run({_LARGEST: made[_LARGEST]}, mesh, [_rows(_LARGEST)])
    program[num_devices] = steps.arrays(state.params)
  for path, array in program[1].items():
    np.testing.assert_allclose(program[2][path], array, atol=steps.ATOL)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_largest_updates": 3}, r"num_largest_updates = .* got 4"),
    ({"num_largest_updates": 4}, r"4 num_largest_updates rows .* got 1"),
  ],
)
def test_a_batch_that_has_no_such_parts_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    train_step.check(_config(**changes), _mesh())


def test_updates_of_nothing_are_refused():
  config = config_lib.checked(tiny_naflex.get_config().to_dict())
  with pytest.raises(ValueError, match="num_largest_updates must be 1 without"):
    dataclasses.replace(config, num_largest_updates=2).check()
