"""Answers' objective: heads learn from their questions, the router decides."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from losses import answers as losses_lib
from runtime import mesh as mesh_lib
from tests.training.vqa import tiny_questions
from training.objectives import answers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  config = tiny_questions.make_config(tmp_path_factory.mktemp("none"))
  objective = answers.make(config, 5, {"closed": 2, "open": 3})
  params = jax.jit(objective.init_params)(jax.random.key(0))
  rng = np.random.default_rng(0)
  batch = answers.batch_of(
    {
      "images": rng.integers(0, 256, (4, 16, 16, 3), np.uint8),
      "grey": rng.integers(0, 256, (4, 8, 8), np.uint8),
      "tokens": rng.integers(0, 6, (4, 12)).astype(np.int32),
      "heads": np.array([0, 0, 1, 1], np.int32),
      "labels": np.array([0, 1, 2, -1], np.int32),
      "types": np.array([0, 0, 1, 1], np.int32),
    }
  )
  mesh = mesh_lib.make_mesh(config.mesh)
  with jax.set_mesh(mesh):
    embed = jax.jit(lambda *args: objective.embed(*args)[0])
    grads_fn = jax.jit(
      jax.grad(
        lambda params, batch: objective.loss(
          params, objective.embed(params, {}, batch)[0], batch
        )
      )
    )
    yield objective, params, batch, embed, grads_fn


def test_loss_is_the_sum_of_its_parts(made):
  objective, params, batch, embed, _ = made
  outputs = embed(params, {}, batch)
  parts = [
    losses_lib.binary(
      outputs.logits[head],
      jnp.asarray(batch.labels),
      jnp.asarray(batch.heads == index, jnp.float32),
      reduction="sum",
    )
    for index, head in enumerate(("closed", "open"))
  ]
  route = optax.softmax_cross_entropy_with_integer_labels(
    outputs.route_bH, batch.types
  )
  total = sum(parts) + jnp.mean(route) + 0.001 * jnp.mean(outputs.error_b)
  got = objective.loss(params, outputs, batch)
  assert float(got) == pytest.approx(float(total), rel=1e-5)


def test_closed_questions_leave_the_open_head_alone(made):
  _, params, batch, _, grads_fn = made
  closed = dataclasses.replace(
    batch, heads=np.zeros(4, np.int32), labels=np.array([0, 1, 0, 1], np.int32)
  )
  grads = grads_fn(params, closed)
  for module in ("fusion", "heads"):
    size = lambda tree: float(optax.tree.norm(tree))  # noqa: E731
    assert size(grads[module]["open"]) == 0
    assert size(grads[module]["closed"]) > 0
  # The image tower is trained end to end.
  assert float(optax.tree.norm(grads["img"])) > 0


def test_the_router_chooses_the_head(made):
  objective, params, batch, embed, _ = made
  outputs = embed(params, {}, batch)
  answer = jax.jit(answers.answer_fn(objective))
  for kind, head in enumerate(("closed", "open")):
    bias = jnp.zeros(2).at[kind].set(1e6)
    last = params["router"]["maps"]["2"] | {"bias": bias}
    maps = params["router"]["maps"] | {"2": last}
    router = params["router"] | {"maps": maps}
    head_b, label_b = answer(params | {"router": router}, batch)
    assert head_b.tolist() == [kind] * 4
    expected = outputs.logits[head].argmax(1)
    np.testing.assert_array_equal(label_b, expected)
