"""Refusals of batches that a training step cannot learn from."""

import re

import jax
import pytest

from runtime import mesh as mesh_lib
from tests import runs
from training import train_step


def _check(shape, **changes):
  config = runs.make_config(
    {k.replace("__", "."): v for k, v in changes.items()}
  )
  devices = jax.devices()[: shape[0] * shape[1] * shape[2]]
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(*shape), devices)
  train_step.check(config, mesh)


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "unicl"])
@pytest.mark.parametrize(
  ("shape", "changes", "words"),
  [
    ((1, 1, 1), {"batch_size": 1}, "'global' compares batch_size=1 rows"),
    (
      (2, 2, 2),
      {"batch_size": 4, "loss__scope": "device"},
      "'device' compares batch_size=4 / 4 data x fsdp devices rows",
    ),
    (
      (1, 1, 1),
      {
        "batch_size": 8,
        "num_microbatches": 8,
        "loss__scope": "microbatch",
      },
      "'microbatch' compares batch_size=8 / 8 num_microbatches rows",
    ),
  ],
)
def test_a_loss_without_a_negative(name, shape, changes, words):
  with pytest.raises(ValueError, match=re.escape(words) + ".*got 1$"):
    _check(shape, loss__name=name, **changes)


@pytest.mark.parametrize(
  ("shape", "changes"),
  [
    ((1, 1, 1), {"batch_size": 2}),
    # A row a device or a micro-batch, compared with all rows.
    ((2, 1, 1), {"batch_size": 2}),
    ((1, 1, 1), {"batch_size": 2, "num_microbatches": 2}),
    # A micro-batch has rows of both devices.
    (
      (2, 1, 1),
      {"batch_size": 4, "num_microbatches": 2, "loss__scope": "microbatch"},
    ),
    # The gradient cache joins the micro-batches of a device.
    (
      (2, 1, 1),
      {"batch_size": 4, "num_microbatches": 2, "loss__scope": "device"},
    ),
  ],
)
def test_two_rows_are_enough(shape, changes):
  _check(shape, **changes)
