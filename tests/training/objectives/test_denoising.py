"""Denoising objective: the noise, the error, and that training removes it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from models.vqa import autoencoder
from runtime import mesh as mesh_lib
from tests import tiny_questions
from training import config as config_lib
from training.objectives import answers, denoising


@pytest.fixture(scope="module")
def config() -> config_lib.Config:
  values = tiny_questions.get_config("autoencoder")
  return config_lib.checked(values.to_dict())


def _keys(num: int, seed: int = 0) -> jax.Array:
  return jax.random.split(jax.random.key(seed), num)


def test_grey_is_pillows():
  images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
  expected = [np.asarray(Image.fromarray(x).convert("L")) for x in images]
  got = autoencoder.grey(jnp.asarray(images))[..., 0] * 255
  # Pillow's levels are whole numbers.
  np.testing.assert_allclose(got, expected, atol=0.51)


def test_noise_has_its_sigma_and_each_image_its_own():
  x = jnp.full((4, 32, 32, 1), 0.5)
  noise = np.asarray(autoencoder.noisy(x, _keys(4), 0.1) - x)
  # 4,096 numbers: the standard error of their deviation is 0.0011.
  assert noise.std() == pytest.approx(0.1, abs=0.005)
  assert not np.any(noise[0] == noise[1])
  same = np.asarray(autoencoder.noisy(x, _keys(4), 0.1) - x)
  np.testing.assert_array_equal(noise, same)


def test_parameters_are_those_of_the_model_without_features(config):
  own = jax.eval_shape(denoising.make(config).init_params, jax.random.key(0))
  values = tiny_questions.get_config().to_dict()
  config = config_lib.checked(values)
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh)):
    made = answers.make(config, 5, {"all": 3})
    whole = jax.eval_shape(made.init_params, jax.random.key(0))
  theirs = dict(whole[denoising.NAME])
  del theirs["features"]
  assert own == {denoising.NAME: theirs}


@pytest.mark.slow
def test_training_makes_better_images_than_the_noisy_ones(config):
  objective = denoising.make(config)
  rng = np.random.default_rng(0)
  # Smooth pictures: a plane each.
  slopes = rng.uniform(-12, 12, (12, 2, 1, 1))
  place = np.arange(8) - 3.5
  planes = 128 + slopes[:, 0] * place + slopes[:, 1] * place[:, None]
  images = np.repeat(planes[..., None], 3, axis=3).astype(np.uint8)
  optimizer = optax.adam(5e-3)

  @jax.jit  # not a scan, whose convolutions are slow on the CPU
  def step(params, state, keys):
    batch = denoising.Batch(images[:8], keys)

    def loss(params):
      return objective.loss(
        params, objective.embed(params, {}, batch)[0], batch
      )

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  params = jax.jit(objective.init_params)(jax.random.key(0))
  state = optimizer.init(params)
  for seed in range(60):
    params, state = step(params, state, _keys(8, seed))
  held_out = denoising.Batch(images[8:], _keys(4, 999))
  errors = jax.jit(objective.embed_locked)(params, {}, held_out)
  assert np.mean(errors.rebuilt_b) < np.mean(errors.noisy_b)
  # Nor are they of one grey level.
  assert np.mean(errors.rebuilt_b) < np.mean(
    np.var(images[8:, ..., 0] / 255, axis=(1, 2))
  )


def test_noise_of_the_config_is_used(config):
  vqa = dataclasses.replace(config.vqa, noise_sigma=0.02)
  objective = denoising.make(dataclasses.replace(config, vqa=vqa))
  params = objective.init_params(jax.random.key(0))
  batch = denoising.Batch(np.full((2, 16, 16, 3), 128, np.uint8), _keys(2))
  errors = objective.embed_locked(params, {}, batch)
  np.testing.assert_allclose(errors.noisy_b, 0.02**2, rtol=0.3)
