"""Statistics of groups, beside NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import batch_norm

EPSILON, MOMENTUM = 1e-3, 0.9
# float32 means of some hundred values of size 1.
ATOL = 2e-6


def make_norm(group, dtype="float32"):
  norm = batch_norm.BatchNorm(
    3, group=group, epsilon=EPSILON, momentum=MOMENTUM, dtype=dtype
  )
  rng = np.random.default_rng(0)
  norm.scale[...] = jnp.asarray(1 + rng.normal(size=3), jnp.float32)
  norm.bias[...] = jnp.asarray(rng.normal(size=3), jnp.float32)
  return norm


def make_images(seed=1, count=8):
  rng = np.random.default_rng(seed)
  return (2 + rng.normal(size=(count, 5, 4, 3))).astype(np.float32)


def normalised(norm, x, mean, var):
  return (x - mean) / np.sqrt(var + EPSILON) * norm.scale[...] + norm.bias[...]


@pytest.mark.parametrize("group", [0, 2, 4, 8])
def test_a_group_is_normalised_by_itself(group):
  norm, x = make_norm(group), make_images()
  got = norm(jnp.asarray(x), {})
  size = group or 8
  for start in range(0, 8, size):
    part = x[start : start + size]
    expected = normalised(norm, part, part.mean((0, 1, 2)), part.var((0, 1, 2)))
    np.testing.assert_allclose(got[start : start + size], expected, atol=1e-5)


def test_running_statistics_are_means_over_groups_and_time():
  norm = make_norm(4)
  mean, var = np.zeros(3), np.ones(3)
  for seed in range(3):
    x, stats = make_images(seed), {}
    norm(jnp.asarray(x), stats)
    assert set(stats) == set(batch_norm.NAMES)
    groups = x.reshape(2, -1, 3)
    mean = MOMENTUM * mean + (1 - MOMENTUM) * groups.mean(1).mean(0)
    # Unbiased, as PyTorch and TensorFlow keep it.
    seen = groups.var(1, ddof=1).mean(0)
    var = MOMENTUM * var + (1 - MOMENTUM) * seen
    norm.running_mean[...] = stats["running_mean"]
    norm.running_var[...] = stats["running_var"]
  np.testing.assert_allclose(norm.running_mean[...], mean, atol=ATOL)
  np.testing.assert_allclose(norm.running_var[...], var, atol=ATOL)
  x = make_images(9)
  np.testing.assert_allclose(
    norm(jnp.asarray(x)), normalised(norm, x, mean, var), atol=1e-5
  )


def test_evaluation_does_not_look_at_the_batch():
  norm, x = make_norm(4), jnp.asarray(make_images(count=3))
  np.testing.assert_array_equal(norm(x)[:1], norm(x[:1]))


def test_statistics_are_float32_and_carry_no_gradient():
  norm = make_norm(0, "bfloat16")
  x = jnp.asarray(make_images(), jnp.bfloat16)

  def seen(x):
    stats = {}
    y = norm(x, stats)
    assert y.dtype == jnp.bfloat16
    assert stats["running_mean"].dtype == jnp.float32
    return jnp.sum(stats["running_mean"] + stats["running_var"])

  np.testing.assert_array_equal(jax.grad(seen)(x), 0)


def test_a_group_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="batch_norm_group=3 must divide.*got 8"):
    make_norm(3)(jnp.asarray(make_images()), {})


def test_statistics_are_split_off_and_joined_again():
  variables = {"img": {"norm": {"scale": 1, "running_mean": 2}}, "bias": 3}
  params, stats = batch_norm.split(variables)
  assert params == {"img": {"norm": {"scale": 1}}, "bias": 3}
  assert stats == {"img": {"norm": {"running_mean": 2}}}
  assert batch_norm.join(params, stats) == variables
  assert batch_norm.join(params, {}) == params
  new = {"img": {"norm": {"running_mean": 4}}}
  assert batch_norm.join(variables, new) == {
    "img": {"norm": {"scale": 1, "running_mean": 4}},
    "bias": 3,
  }


def test_a_model_without_statistics_has_none():
  variables = {"img": {"kernel": 1}, "bias": 3}
  assert batch_norm.split(variables) == (variables, {})
