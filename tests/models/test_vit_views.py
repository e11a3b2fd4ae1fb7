"""A ViT's tokens beside its embedding, masked patches, and other sizes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import dual_encoder, vit
from models.distilling import heads
from tests import runs

SIZE, PATCH = 16, 4
NUM = (SIZE // PATCH) ** 2
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


@functools.cache
def _tower(pool: str, position: str = "learned") -> vit.ViT:
  config = runs.make_config(
    {
      "data.image_size": SIZE,
      "model.image.patch_size": PATCH,
      "model.image.pool": pool,
      "model.image.position": position,
      "model.dtype": "float32",
    }
  )
  model = dataclasses.replace(config.model, text=None)
  made = dual_encoder.DualEncoder(model, rngs=nnx.Rngs(params=0))
  assert isinstance(made.img, vit.ViT)
  return made.img


@pytest.mark.parametrize("pool", ["map", "gap", "cls"])
def test_tokens_beside_the_embedding(pool):
  tower = _tower(pool)
  embedding, tokens = tower.embedding_and_tokens(IMAGES)
  np.testing.assert_allclose(embedding, tower(IMAGES), atol=1e-5)
  np.testing.assert_allclose(tokens, tower.tokens(IMAGES)[:, -NUM:], atol=1e-5)
  assert tokens.shape == (3, NUM, tower.config.width)


def test_a_masked_patch_is_not_seen():
  """Pixels below masks change nothing, others do; without masks all do."""
  tower = _tower("map")
  masked = np.zeros((3, NUM), bool)
  masked[:, [0, 5]] = True
  changed = IMAGES.copy()
  changed[:, :PATCH, :PATCH] = 255 - changed[:, :PATCH, :PATCH]
  seen = functools.partial(
    tower.embedding_and_tokens,
    masked_bN=jnp.asarray(masked),
    mask_D=jnp.ones(tower.config.width),
  )
  np.testing.assert_array_equal(seen(IMAGES)[1], seen(changed)[1])
  plain = [tower.embedding_and_tokens(x)[1] for x in (IMAGES, changed)]
  assert np.abs(plain[0] - plain[1]).max() > 1e-3
  other = IMAGES.copy()
  other[:, -PATCH:, -PATCH:] = 255 - other[:, -PATCH:, -PATCH:]
  assert np.abs(seen(IMAGES)[1] - seen(other)[1]).max() > 1e-3


def test_views_of_another_size():
  """Positions are resized; of the same size they stay as they are."""
  tower = _tower("map")
  small = IMAGES[:, :8, :8]
  embedding, tokens = tower.embedding_and_tokens(small, any_size=True)
  assert embedding.shape == (3, tower(IMAGES).shape[1])
  assert tokens.shape[1] == 4
  np.testing.assert_array_equal(
    tower.embedding_and_tokens(IMAGES, any_size=True)[0],
    tower.embedding_and_tokens(IMAGES)[0],
  )
  with pytest.raises((ValueError, TypeError)):
    tower.embedding_and_tokens(small)


def test_fixed_positions_of_another_size_are_between_their_neighbours():
  tower = _tower("map", "sincos2d")
  _, tokens = tower.embedding_and_tokens(IMAGES[:, :8, :8], any_size=True)
  assert tokens.shape[1] == 4
  grid = np.asarray(tower._positions()).reshape(4, 4, -1)
  halves = np.asarray(tower._resized(tower._positions(), 8)).reshape(2, 2, -1)
  assert (halves <= grid.max((0, 1)) + 1e-6).all()
  assert (halves >= grid.min((0, 1)) - 1e-6).all()
  # The columns of a row differ in its first half alone, x; rows in y.
  assert np.ptp(halves, axis=0).max() > 0.1
  assert np.ptp(halves, axis=1).max() > 0.1


def test_constant_positions_stay_constant_in_another_size():
  tower = nnx.merge(*nnx.split(_tower("cls")))
  assert tower.position is not None
  tower.position[...] = jnp.full(tower.position[...].shape, 0.5)
  resized = tower._resized(tower.position[...], 8)
  np.testing.assert_allclose(resized, 0.5, rtol=1e-6)
  assert len(resized) == 1 + 4


def test_masks_have_the_share_and_depend_on_their_own_key():
  keys = jax.random.split(jax.random.key(0), 6)
  masks = np.asarray(heads.draw_masks(keys, 16, 0.5))
  assert (masks.sum(1) == 8).all()
  assert len({mask.tobytes() for mask in masks}) > 1
  np.testing.assert_array_equal(
    heads.draw_masks(keys[2:4], 16, 0.5), masks[2:4]
  )
