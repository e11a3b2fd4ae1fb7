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


def _run(programs, mesh, batches):
  """Return the arrays and metrics after each batch, and figures."""
  first = next(iter(programs.values()))
  seen = []
  with jax.set_mesh(mesh):
    state = train_state.init(first.init_params, first.optimizer, first.state, 0)
    step, facts = patch_programs.compile_with_facts(programs, mesh)
    for rows in batches:
      state, metrics = step(state, steps.global_batch(rows, mesh))
      seen.append((steps.arrays(state), jax.device_get(metrics)))
  return seen, facts


@pytest.fixture(scope="module")
def both():
  """Return the results of a batch of each number, the largest first."""
  config, mesh = _config(), _mesh(2)
  programs = patch_programs.make(config, mesh)
  assert [*programs] == [*tiny_naflex.COUNTS]
  return _run(programs, mesh, [_rows(_LARGEST), _rows(min(programs))])


@pytest.mark.slow
def test_each_batch_has_the_program_of_its_number(both):
  seen, facts = both
  assert [x["train/num_patches"] for _, x in seen] == [12, 6]
  assert int(seen[-1][0]["step"]) == 2, "two updates of a batch are one step"
  gflops = [facts[f"compile/step_gflop_{n}"] for n in tiny_naflex.COUNTS]
  assert gflops[0] < gflops[1]
  assert facts["compile/step_gflop"] == pytest.approx(sum(gflops) / 2)


@pytest.mark.slow
def test_the_largest_batch_has_an_update_of_each_half(both):
  """As two steps of every other row on one device, but for the schedule."""
  half = _config(batch_size=2, num_largest_updates=1)
  mesh, rows = _mesh(), _rows(_LARGEST)
  halves = [{k: x[i::2] for k, x in rows.items()} for i in range(2)]
  program = patch_programs.make(half, mesh)[_LARGEST]
  apart, _ = _run({_LARGEST: program}, mesh, halves)
  got, metrics = both[0][0]
  wanted, counts = apart[-1][0], set()
  for path, array in got.items():
    if path.endswith("count"):
      counts.add((int(array), int(wanted[path])))
    elif path != "step":
      np.testing.assert_allclose(array, wanted[path], atol=steps.ATOL)
  # Adam's corrections count updates, the schedule counts steps.
  assert counts == {(2, 2), (1, 2)}
  assert metrics["train/loss"] == pytest.approx(
    np.mean([x["train/loss"] for _, x in apart]), rel=1e-5
  )


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
