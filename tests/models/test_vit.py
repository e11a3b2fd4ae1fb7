"""Vision Transformer: pixels and patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dual_encoder
from tests.models import towers


def test_the_first_query_is_the_embedding():
  config = towers.make_config(
    image={"pool": "queries", "num_queries": 3, "pool_heads": 2}
  )
  params = towers.make_params(config)
  graph = dual_encoder.make_graph(config)
  images = towers.make_images(2)

  def embed(changed):
    queries = params["img"]["pool"]["queries"].at[changed].multiply(-1.0)
    pool = params["img"]["pool"] | {"queries": queries}
    model = dual_encoder.merge(
      graph, params | {"img": params["img"] | {"pool": pool}}
    )
    return towers.embed_images(model, images)

  first, second, third = embed(0), embed(1), embed(2)
  np.testing.assert_array_equal(second, third)
  assert np.abs(first - second).max() > 1e-3


def test_patch_matmul_equals_a_convolution():
  model = towers.make_model(towers.make_config(image={"pool": "gap"}))
  tower = model.img
  images = towers.make_images(2)
  kernel_YXCD = tower.patch.kernel[...].reshape(8, 8, 3, 16)
  want = jax.lax.conv_general_dilated(
    tower.settings.normalise(images),
    kernel_YXCD,
    window_strides=(8, 8),
    padding="VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  ).reshape(2, 4, 16)
  captured = {}
  dense = tower.patch

  def patch(x_bNF):
    captured["y"] = dense(x_bNF) - dense.bias[...]
    return dense(x_bNF)

  tower.patch = patch
  tower(images)
  # 192 terms of order 0.1 in another order.
  np.testing.assert_allclose(captured["y"], want, rtol=1e-5, atol=1e-5)


def test_pixels_are_normalised():
  """The patches' pixels are (value / 255 - mean) / std."""
  model = towers.make_model(towers.MODEL)
  mean, std = (np.asarray(x) for x in ((0.5, 0.4, 0.3), (0.5, 0.25, 0.2)))
  images = towers.make_images(2)
  want = (np.asarray(images) / 255 - mean) / std
  patches = {}
  dense = model.img.patch

  def patch(x_bNP):
    patches["x"] = x_bNP
    return dense(x_bNP)

  model.img.patch = patch
  model.img(images)
  # A patch of 8 x 8: row by row, the channels of a pixel side by side.
  got = patches["x"].reshape(2, 2, 2, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5)
  np.testing.assert_allclose(got.reshape(want.shape), want, atol=1e-6)


@pytest.mark.slow
def test_patch_dropout_draws_by_example_and_only_with_keys():
  """An image's kept patches do not depend on what else is in the batch."""
  config = towers.make_config(image={"patch_dropout": 0.5, "patch_size": 4})
  model = towers.make_model(config)
  images = towers.make_images(4)
  keys_b = jax.random.split(jax.random.key(0), 4)
  seen = {}
  dense = model.img.patch

  def patch(x_bNP):
    seen["shape"] = x_bNP.shape
    return dense(x_bNP)

  model.img.patch = patch
  zimg_bE = model.embed_images(images, keys_b)
  assert seen["shape"] == (4, 8, 48)  # of 16 patches
  alone_bE = model.embed_images(images[2:3], keys_b[2:3])
  np.testing.assert_allclose(alone_bE[0], zimg_bE[2], atol=1e-6)
  same_bE = model.embed_images(jnp.stack([images[0]] * 2), keys_b[:2])
  assert np.abs(same_bE[0] - same_bE[1]).max() > 1e-3
  model.embed_images(images)
  assert seen["shape"] == (4, 16, 48)


def test_kept_patches_keep_their_positions():
  """Keeping all of them, in whatever draw, changes nothing."""
  config = towers.make_config(image={"patch_dropout": 0.01, "pool": "cls"})
  assert config.image.num_kept_patches == config.image.num_patches
  model = towers.make_model(config)
  images = towers.make_images(3)
  keys_b = jax.random.split(jax.random.key(0), 3)
  np.testing.assert_allclose(
    model.embed_images(images, keys_b), model.embed_images(images), atol=1e-6
  )
