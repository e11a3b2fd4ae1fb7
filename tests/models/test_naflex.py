"""NaFlex: a ViT for images of any shape, whatever they are filled up with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dual_encoder, naflex
from tests.models import towers

_IMAGE = naflex.NaFlexConfig(
  tower="naflex",
  image_size=16,
  patch_size=4,
  max_num_patches=20,
  position_size=4,
  width=16,
  depth=2,
  num_heads=2,
  mlp_width=32,
  activation="gelu_tanh",
  projection=True,
  projection_bias=True,
  norm_epsilon=1e-6,
  dropout=0.0,
)


def _config(**fields):
  return dataclasses.replace(
    towers.MODEL, image=dataclasses.replace(_IMAGE, **fields), text=None
  )


def _patches(shapes, length=20):
  """Return noise of these rows and columns; padding is noise as well."""
  rng = np.random.default_rng(3)
  patches = rng.integers(0, 256, (len(shapes), 20, 48), np.uint8)
  patches = np.pad(patches, ((0, 0), (0, length - 20), (0, 0)))
  return naflex.Patches(jnp.asarray(patches), jnp.asarray(shapes, jnp.int32))


def test_a_square_image_with_the_full_grid_is_that_of_a_vit():
  config = _config()
  vit = towers.make_config(image={"patch_size": 4, "projection_bias": True})
  vit = dataclasses.replace(vit, text=None)
  params = towers.make_params(vit)
  images = towers.make_images(2)
  patches = images.reshape(2, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
  want = jax.jit(dual_encoder.embed_fns(vit)[0])(params, images)
  embed = jax.jit(dual_encoder.embed_fns(config)[0])
  shapes = jnp.full((2, 2), 4)
  # The same sums; the table goes through a product with the unit matrix.
  for given in (images, naflex.Patches(patches.reshape(2, 16, 48), shapes)):
    np.testing.assert_allclose(embed(params, given), want, atol=1e-6)


def test_padding_does_not_change_an_embedding():
  model = towers.make_model(_config())
  shapes = [(2, 3), (5, 2), (4, 5)]
  short, long = _patches(shapes), _patches(shapes, length=26)
  zimg_bE = towers.embed_images(model, short)
  np.testing.assert_allclose(  # the same terms and zeros, summed otherwise
    towers.embed_images(model, long), zimg_bE, atol=1e-6
  )
  other = short._replace(
    patches_bNP=short.patches_bNP.at[0, 6:].set(9).at[1, 10:].set(200)
  )
  np.testing.assert_allclose(
    towers.embed_images(model, other), zimg_bE, atol=1e-6
  )
  seen = short._replace(patches_bNP=short.patches_bNP.at[0, 5].set(9))
  assert np.abs(towers.embed_images(model, seen) - zimg_bE)[0].max() > 1e-3


def test_the_shape_is_seen():
  model = towers.make_model(_config())
  lying, standing = _patches([(2, 6)] * 2), _patches([(2, 6), (6, 2)])
  lying, standing = (
    towers.embed_images(model, x._replace(patches_bNP=lying.patches_bNP))
    for x in (lying, standing)
  )
  np.testing.assert_allclose(standing[0], lying[0], atol=1e-6)
  assert np.abs(standing[1] - lying[1]).max() > 1e-3


@pytest.mark.parametrize("shape", [(4, 4), (2, 7), (1, 12), (5, 3), (12, 1)])
def test_positions_are_resized_as_an_image_is(shape):
  table_PD = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3)))
  resize = jax.jit(naflex.resize_positions, static_argnums=2)
  got_1ND = resize(table_PD, jnp.asarray([shape]), 18)
  want = jax.image.resize(
    table_PD.reshape(4, 4, 3),
    (*shape, 3),
    method="bilinear",
    antialias=True,
    precision=jax.lax.Precision.HIGHEST,
  ).reshape(-1, 3)
  np.testing.assert_allclose(got_1ND[0, : len(want)], want, atol=1e-6)
  assert np.isfinite(got_1ND).all()


def test_gradients_are_finite_in_chunks():
  """Also those of positions, which padding has too."""
  config = dataclasses.replace(_config(), remat="block", remat_chunks=2)
  params = towers.make_params(config)
  patches = _patches([(2, 3), (5, 2), (4, 5), (1, 1)])
  embed = dual_encoder.embed_fns(config)[0]

  def loss_fn(params):
    zimg_bE = embed(params, patches)
    return jnp.sum(zimg_bE[:, 0]), zimg_bE

  grads, zimg_bE = jax.jit(jax.grad(loss_fn, has_aux=True))(params)
  for x in jax.tree.leaves(grads["img"]):
    assert np.isfinite(x).all()
  assert np.abs(grads["img"]["position"]).max() > 1e-3
  want = towers.embed_images(towers.make_model(_config()), patches)
  np.testing.assert_allclose(zimg_bE, want, atol=1e-6)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"image_size": 18}, r"image_size must be a multiple of .* got 18 and 4"),
    ({"max_num_patches": 0}, r"max_num_patches must be at least 1; got 0"),
    ({"num_heads": 3}, r"model\.image\.width must be a multiple"),
  ],
)
def test_messages(fields, message):
  with pytest.raises(ValueError, match=message):
    _config(**fields).check()
