"""Norms of the gradient of each loss: those of the step's own gradient."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import steps, tiny_joint
from training import config as config_lib
from training import gradient_norms, train_step

# The gradient of a mask token is left out: self-distillation is slow to
# compile, and is one more part of the same sum.
_PARTS = ("pairs", "decoder")


def _config(arg, **changes):
  values = tiny_joint.get_config(arg)
  flat = {"log_gradients_every_steps": 1} | steps.FAST | changes
  if not arg:
    flat["log_gradients_every_steps"] = 0
  values.update_from_flattened_dict(flat)
  return config_lib.from_mapping(values.to_dict())


def _norms(config, shape=(1, 1, 1)):
  """Return the norms at step 0, and the norm of the step's gradient."""
  built = steps.build(config, shape)
  program = train_step.make(config, built.mesh)
  with jax.set_mesh(built.mesh):
    norms_fn = gradient_norms.compile_norms(config, program, {}, built.mesh)
    rows = steps.batch(config)
    batch = steps.global_batch(rows, built.mesh, built.batch_of)
    found = norms_fn(built.state, batch) if norms_fn else {}
    _, metrics = built.step(built.state, batch)
  return jax.device_get(found), float(metrics["train/grad_norm"])


@pytest.mark.slow
def test_each_norm_is_that_of_its_loss_alone():
  found, total = _norms(_config("decoder"))
  assert {*found} == {
    f"gradients/{name}{end}" for name in _PARTS for end in ("", "/img")
  }
  none, alone = _norms(_config(""))
  assert none == {}
  np.testing.assert_allclose(found["gradients/pairs"], alone, rtol=1e-5)
  # The decoder begins with logits of zero: its words alone learn at step 0.
  assert found["gradients/decoder"] > 0.01
  assert found["gradients/decoder/img"] == 0
  assert total < found["gradients/pairs"] + found["gradients/decoder"]
  other, _ = _norms(_config("decoder", num_microbatches=2), (2, 2, 1))
  for name, value in found.items():
    np.testing.assert_allclose(
      other[name], value, rtol=1e-4, atol=1e-6, err_msg=name
    )


@pytest.mark.parametrize(
  ("arg", "changes", "message"),
  [
    ("", {"log_gradients_every_steps": 2}, "must be 0 without decoding"),
    (
      "decoder",
      {"log_gradients_every_steps": 3, "log_every_steps": 2},
      "must be a multiple of log_every_steps=2, .* got 3",
    ),
  ],
)
def test_norms_that_no_line_would_have(arg, changes, message):
  config = dataclasses.replace(_config(arg), **changes)
  with pytest.raises(ValueError, match=message):
    gradient_norms.check(config)
