"""Inputs of causal and of parallel prediction, and weights of targets."""

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import inputs

TARGETS = jnp.array([[5, 6, 7, 2], [8, 9, 2, 2]])


def test_rows_are_masked_one_by_one():
  got = inputs.mixed(TARGETS, jnp.array([False, True]), begin_id=1)
  mask = inputs.MASK
  assert got.tokens_bL.tolist() == [[1, 5, 6, 7], [mask] * 4]
  assert got.parallel_b.tolist() == [False, True]


def test_prompts_stay():
  got = inputs.mixed(
    TARGETS, jnp.array([True, True]), begin_id=1, prompt_b=jnp.array([2, 0])
  )
  mask = inputs.MASK
  assert got.tokens_bL.tolist() == [[1, 5, mask, mask], [mask] * 4]


def test_draws_are_those_of_a_row():
  keys = jax.random.split(jax.random.key(0), 1000)
  whole = inputs.draw_parallel(keys, 0.3)
  # Four standard deviations: sqrt(0.3 * 0.7 / 1000) = 0.0145.
  assert abs(whole.mean() - 0.3) < 0.058
  part = inputs.draw_parallel(keys[500:600], 0.3)
  np.testing.assert_array_equal(part, whole[500:600])
  assert not inputs.draw_parallel(keys, 0.0).any()
  assert inputs.draw_parallel(keys, 1.0).all()


def test_weights_end_with_the_first_end():
  want = [[1, 1, 1, 1], [1, 1, 1, 0]]
  assert inputs.weights(TARGETS, 2).tolist() == want
  # The first target behind a prompt of two inputs is the second.
  want = [[0, 1, 1, 1], [1, 1, 1, 0]]
  assert inputs.weights(TARGETS, 2, jnp.array([2, 0])).tolist() == want
  assert inputs.weights(TARGETS[:, :2], 2).tolist() == [[1, 1], [1, 1]]
