"""Micro-batches: the same update as the whole batch's, in less memory."""

import jax
import numpy as np
import pytest

from runtime import mesh as mesh_lib
from tests import runs, steps
from training.objectives import gradient_cache

_DRAWS = {
  "model.image.patch_dropout": 0.25,
  "model.image.dropout": 0.1,
  "model.text.dropout": 0.1,
}


def _train(changes, shape=(1, 1, 1)):
  """Return the metrics of two steps and the parameters after them."""
  config = runs.make_config(steps.FAST | changes)
  built = steps.build(config, shape)
  state, seen = built.run(config, 2)
  return seen, steps.arrays(state.params)


def _check_same(got, want, *, loss_rtol, atol):
  """Sums over the batch are taken in another order; `atol` is of parameters."""
  for one, other in zip(got[0], want[0], strict=True):
    np.testing.assert_allclose(
      one["train/loss"], other["train/loss"], rtol=loss_rtol
    )
  for name, x in want[1].items():
    np.testing.assert_allclose(got[1][name], x, atol=atol, err_msg=name)


@pytest.mark.slow
def test_equals_the_whole_batch():
  """Labels are cut like the other rows; the second pass draws as the first."""
  changes = _DRAWS | {"loss.name": "unicl", "loss.block_size": 4}
  want = _train(changes)
  got = _train(changes | {"num_microbatches": 4})
  _check_same(got, want, loss_rtol=2e-5, atol=steps.ATOL)


@pytest.mark.long
@pytest.mark.slow
def test_with_everything_that_saves_memory_and_bfloat16():
  """Ring loss, fsdp and tensor axes, recomputed layers, chunks, draws."""
  changes = _DRAWS | {"model.dtype": "bfloat16", "loss.block_size": 2}
  want = _train(changes)
  parts = {
    "num_microbatches": 2,
    "model.remat": "block",
    "model.remat_chunks": 2,
  }
  got = _train(changes | parts, (2, 2, 2))
  # Products have 8 bits, and their rounding depends on how they are split. A
  # gradient g updates by 0.01 g / (g + 0.01); a few percent of it are 1e-4.
  # A gradient that counts a device twice is off by 1e-3 and more.
  _check_same(got, want, loss_rtol=1e-2, atol=4e-4)


@pytest.mark.slow
def test_scopes_are_means_of_separate_losses():
  """Micro-batches and devices' rows are the same rows here."""
  changes = {"loss.name": "softmax"}
  alone = steps.build(
    runs.make_config(steps.FAST | changes | {"batch_size": 4})
  )
  batch = steps.batch(runs.make_config(steps.FAST))
  want = np.mean(
    [
      alone.loss(jax.tree.map(lambda x, i=i: x[i : i + 4], batch))
      for i in range(0, 16, 4)
    ]
  )
  microbatch = {"loss.scope": "microbatch", "num_microbatches": 4}
  device = {"loss.scope": "device"}
  for scope, shape in ((microbatch, (1, 1, 1)), (device, (4, 1, 1))):
    config = runs.make_config(steps.FAST | changes | scope)
    got = steps.build(config, shape).loss(batch)
    np.testing.assert_allclose(got, want, rtol=2e-5, err_msg=str(scope))


def test_microbatches_are_each_devices_own_rows():
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 1, 1), jax.devices()[:2])
  with jax.set_mesh(mesh):
    rows = mesh_lib.make_global({"x": np.arange(8)}, mesh)
    parts = [
      jax.jit(lambda rows, i=i: gradient_cache.microbatch(rows, i, 2))(rows)
      for i in range(2)
    ]
  got = [part["x"].tolist() for part in parts]
  assert got == [[0, 1, 4, 5], [2, 3, 6, 7]]


@pytest.mark.slow
def test_less_memory():
  """Temporaries of an eighth, but for the gradient's second copy."""
  sizes = {
    parts: steps.build(
      runs.make_config(
        {"batch_size": 256, "num_microbatches": parts, "loss.block_size": 32}
      )
    )
    .compiled.memory_analysis()
    .temp_size_in_bytes
    for parts in (1, 8)
  }
  assert sizes[8] < 0.3 * sizes[1]
