"""Micro-batches: the same update as the whole batch's, in less memory."""

import jax
import numpy as np

from tests import runs, steps
from training import gradient_cache, partitioning

_DRAWS = {
  "model.image.patch_dropout": 0.25,
  "model.image.dropout": 0.1,
  "model.text.dropout": 0.1,
}
# Sums over the batch are taken in another order.
_RTOL = 2e-5


def _train(changes, shape=(1, 1, 1)):
  """Return the metrics of two steps and the parameters after them."""
  config = runs.make_config(steps.FAST | changes)
  built = steps.build(config, shape)
  state, seen = built.run(config, 2)
  return seen, steps.arrays(state.params)


def _check_same(got, want, atol=steps.ATOL, rtol=_RTOL):
  for one, other in zip(got[0], want[0], strict=True):
    for name in other:
      np.testing.assert_allclose(
        one[name], other[name], rtol=rtol, err_msg=name
      )
  for name, x in want[1].items():
    np.testing.assert_allclose(got[1][name], x, atol=atol, err_msg=name)


def test_equals_the_whole_batch():
  """Labels are cut like the other rows."""
  changes = {"loss.name": "unicl", "loss.block_size": 4}
  want = _train(changes)
  got = _train(changes | {"num_microbatches": 4})
  _check_same(got, want)


def test_equals_the_whole_batch_on_a_mesh_with_draws_and_remat():
  """The second pass draws what the first drew, in whatever parts."""
  changes = _DRAWS | {"loss.block_size": 2}
  want = _train(changes)
  parts = {
    "num_microbatches": 2,
    "model.remat": "block",
    "model.remat_chunks": 2,
  }
  got = _train(changes | parts, (2, 2, 2))
  _check_same(got, want, rtol=2e-4)
  # The draws matter: another step's are another loss.
  assert want[0][0]["train/loss"] != want[0][1]["train/loss"]


def test_bfloat16():
  """Each product is rounded alike; only float32 sums change their order."""
  changes = {"model.dtype": "bfloat16"}
  want = _train(changes)
  got = _train(changes | {"num_microbatches": 4})
  # A row of a bfloat16 product may be rounded otherwise in a smaller batch:
  # 8 bits of the gradients, each update at most 0.01 of a gradient over 0.01.
  _check_same(got, want, atol=2e-3, rtol=2e-2)


def test_scope_microbatch_is_the_mean_of_separate_losses():
  changes = {"loss.scope": "microbatch", "loss.name": "softmax"}
  got = _train(changes | {"num_microbatches": 4})
  config = runs.make_config(steps.FAST | changes | {"batch_size": 4})
  whole = runs.make_config(steps.FAST)
  batch = steps.batch(whole)
  parts = []
  built = steps.build(config)
  for i in range(4):
    part = jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], batch)
    parts.append(built.loss(part))
  np.testing.assert_allclose(
    got[0][0]["train/loss"], np.mean(parts), rtol=_RTOL
  )


def test_scope_device_sees_a_devices_rows_only():
  changes = {"loss.scope": "device", "loss.name": "softmax"}
  on_four = _train(changes, (4, 1, 1))
  as_parts = _train(
    changes | {"loss.scope": "microbatch", "num_microbatches": 4}
  )
  np.testing.assert_allclose(
    on_four[0][0]["train/loss"], as_parts[0][0]["train/loss"], rtol=_RTOL
  )


def test_microbatches_are_each_devices_own_rows():
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(2, 1, 1), jax.devices()[:2]
  )
  with jax.set_mesh(mesh):
    rows = partitioning.make_global({"x": np.arange(8)}, mesh)
    parts = [
      jax.jit(lambda rows, i=i: gradient_cache.microbatch(rows, i, 2))(rows)
      for i in range(2)
    ]
  got = [part["x"].tolist() for part in parts]
  assert got == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_less_memory():
  """Temporaries of an eighth, but for the gradient's second copy."""
  sizes = {
    parts: steps.build(
      runs.make_config(
        {"batch_size": 256, "num_microbatches": parts, "loss.block_size": 32}
      )
    )
    .step.memory_analysis()
    .temp_size_in_bytes
    for parts in (1, 8)
  }
  assert sizes[8] < 0.3 * sizes[1]
