"""Routing objective: the model's router alone, its loss, what it learns."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from runtime import mesh as mesh_lib
from tests import tiny_questions
from training import config as config_lib
from training.objectives import answers, routing

_NUM_WORDS = 5


@pytest.fixture(scope="module")
def config() -> config_lib.Config:
  return config_lib.checked(tiny_questions.get_config("router").to_dict())


def test_parameters_are_those_of_the_model(config):
  own = jax.eval_shape(
    routing.make(config, _NUM_WORDS).init_params, jax.random.key(0)
  )
  whole = config_lib.checked(tiny_questions.get_config("qcr").to_dict())
  with jax.set_mesh(mesh_lib.make_mesh(whole.mesh)):
    made = answers.make(whole, _NUM_WORDS, {"closed": 2, "open": 3})
    theirs = jax.eval_shape(made.init_params, jax.random.key(0))
  assert own == {routing.NAME: theirs[routing.NAME]}


def test_training_learns_the_type_from_a_word(config):
  # Wide enough: 64 -> 16 -> 4 -> 2.
  model = dataclasses.replace(config.vqa.model, width=64)
  vqa = dataclasses.replace(config.vqa, model=model)
  objective = routing.make(dataclasses.replace(config, vqa=vqa), _NUM_WORDS)
  # Word 0 is in closed questions, word 1 in open ones, the rest is padding.
  types = np.arange(16, dtype=np.int32) % 2
  tokens = np.full((16, 12), _NUM_WORDS, np.int32)
  tokens[np.arange(16), np.arange(16) // 2] = types
  optimizer = optax.adam(1e-2)

  @jax.jit
  def train(params):
    def step(carry, _):
      params, state = carry
      batch = routing.Batch(tokens[:8], types[:8])
      (loss, _), grads = objective.gradient(objective, params, {}, batch)
      updates, state = optimizer.update(grads, state)
      return (optax.apply_updates(params, updates), state), loss

    carry = params, optimizer.init(params)
    (params, _), losses = jax.lax.scan(step, carry, length=60)
    held_out = routing.Batch(tokens[8:], types[8:])
    return objective.embed_locked(params, {}, held_out), losses

  route, losses = train(objective.init_params(jax.random.key(0)))
  # Both types are as frequent: the loss begins near log 2.
  assert losses[0] == pytest.approx(np.log(2), abs=0.1)
  np.testing.assert_array_equal(route.argmax(axis=1), types[8:])
