"""A checkpoint of commit e93b9cf, whose state had no field for statistics.

golden/checkpoint_e93b9cf.zip is the folder "checkpoints" of that commit's
`training.checkpointing.Checkpointer`, with the state of step 2 of the config
below, made by tests/steps.py's batches.
"""

import pathlib
import zipfile

import jax
import numpy as np
import pytest

from runtime import mesh as mesh_lib
from tests import runs, steps
from tests.training import test_batch_norm
from training import checkpointing, train_step

_GOLDEN = pathlib.Path(__file__).parent / "golden/checkpoint_e93b9cf.zip"
# Losses of steps 3 and 4, computed by that commit.
_LOSSES = (8.339080810546875, 8.829869270324707)


@pytest.mark.slow
def test_it_is_restored_and_goes_on(shared_dir, tmp_path):
  config = test_batch_norm.make_config(
    **{
      "data.cache_dir": str(shared_dir / "cache"),
      "data.vocab_size": 264,
      "model.text.vocab_size": 264,
      "model.embed_dim": 8,
      "model.text.width": 8,
      "model.text.depth": 1,
      "model.text.mlp_width": 8,
    }
  )
  with zipfile.ZipFile(_GOLDEN) as archive:
    archive.extractall(tmp_path / "checkpoints")
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  program = train_step.make(config, mesh)
  checkpointer = checkpointing.Checkpointer(tmp_path / "checkpoints", keep=9)
  state = checkpointer.restore(program.state, runs.make_iterator(config))
  assert state is not None
  assert not (tmp_path / "rejected").exists()
  assert int(state.step) == 2
  assert state.ema == {}
  stats = steps.arrays(state.stats)
  assert len(stats) == 2 * 9
  assert all("running" in path for path in stats)
  assert not any("running" in path for path in steps.arrays(state.params))
  # They have moved from 0 and 1, where they begin.
  assert all(np.any((x != 0) & (x != 1)) for x in stats.values())

  # Saved again, it is what it was.
  checkpointer.save(state, runs.make_iterator(config), 3)
  checkpointer.close()
  again = checkpointing.restore_params(
    tmp_path / "checkpoints", program.state.variables
  )
  assert again is not None
  jax.tree.map(np.testing.assert_array_equal, again[1], state.variables)

  with jax.set_mesh(mesh):
    compiled = train_step.compile_step(program, mesh)
    step = train_step.with_numbers(compiled, program, mesh)
    losses = []
    for number in range(2):
      rows = steps.global_batch(steps.batch(config, number), mesh)
      state, metrics = step(state, rows)
      losses.append(float(metrics["train/loss"]))
  # Rounding of another processor, over two updates at a rate of 0.01.
  np.testing.assert_allclose(losses, _LOSSES, rtol=1e-3)
