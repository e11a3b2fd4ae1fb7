"""Answers' objective: heads learn from their questions, the router decides."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from losses import answers as losses_lib
from models.vqa import answering
from runtime import mesh as mesh_lib
from tests import tiny_questions
from training import config as config_lib
from training.objectives import answers, routing

RNG = np.random.default_rng(0)
BATCH = answers.batch_of(
  {
    "images": RNG.integers(0, 256, (4, 16, 16, 3), np.uint8),
    "grey": RNG.integers(0, 256, (4, 8, 8), np.uint8),
    "tokens": RNG.integers(0, 6, (4, 12)).astype(np.int32),
    "heads": np.array([0, 0, 1, 1], np.int32),
    "labels": np.array([0, 1, 2, -1], np.int32),
    "types": np.array([0, 0, 1, 1], np.int32),
  }
)
OUTPUTS = answering.Outputs(
  {
    "closed": jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32),
    "open": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32),
  },
  jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32),
  jnp.asarray(RNG.uniform(size=4), jnp.float32),
)


@pytest.fixture(scope="module")
def objective():
  config = config_lib.checked(tiny_questions.get_config("qcr").to_dict())
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh)):
    yield answers.make(config, 5, {"closed": 2, "open": 3})


def test_loss_is_the_sum_of_its_parts(objective):
  parts = [
    losses_lib.binary(
      OUTPUTS.logits[head],
      jnp.asarray(BATCH.labels),
      jnp.asarray(BATCH.heads == index, jnp.float32),
      reduction="sum",
    )
    for index, head in enumerate(("closed", "open"))
  ]
  route = optax.softmax_cross_entropy_with_integer_labels(
    OUTPUTS.route_bH, BATCH.types
  )
  total = sum(parts) + jnp.mean(route) + 0.001 * jnp.mean(OUTPUTS.error_b)
  got = objective.loss({}, OUTPUTS, BATCH)
  assert float(got) == pytest.approx(float(total), rel=1e-5)


def test_a_frozen_router_learns_nothing(objective):
  values = tiny_questions.get_config("qcr")
  values.vqa.router_from = "runs/router"
  config = config_lib.checked(values.to_dict())
  frozen = answers.make(config, 5, {"closed": 2, "open": 3})
  route = routing.cross_entropy(OUTPUTS.route_bH, jnp.asarray(BATCH.types))
  expected = objective.loss({}, OUTPUTS, BATCH) - route
  assert float(frozen.loss({}, OUTPUTS, BATCH)) == pytest.approx(
    float(expected), rel=1e-5
  )


def test_a_question_leaves_the_other_head_alone(objective):
  grads = jax.grad(lambda outputs: objective.loss({}, outputs, BATCH))(OUTPUTS)
  is_taught = {head: np.any(g, axis=1) for head, g in grads.logits.items()}
  assert is_taught["closed"].tolist() == [True, True, False, False]
  assert is_taught["open"].tolist() == [False, False, True, True]
  assert np.all(np.any(grads.route_bH, axis=1))


def test_the_router_chooses_the_head(objective):
  shapes = jax.eval_shape(objective.init_params, jax.random.key(0))
  params = jax.tree.map(
    lambda x: RNG.normal(0, 0.1, x.shape).astype(np.float32), shapes
  )
  answer = jax.jit(
    lambda *args: (
      objective.embed(*args)[0],
      answers.answer_fn(objective)(args[0], args[2]),
    )
  )
  for kind, head in enumerate(("closed", "open")):
    params["router"]["maps"]["2"]["bias"] = np.eye(2, dtype=np.float32)[kind]
    params["router"]["maps"]["2"]["bias"] *= 1e6
    outputs, (head_b, label_b) = answer(params, {}, BATCH)
    assert head_b.tolist() == [kind] * 4
    np.testing.assert_array_equal(label_b, outputs.logits[head].argmax(1))
