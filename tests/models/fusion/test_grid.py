"""Grid features: sizes, pixels, statistics; parity is in tests/parity."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import convolution
from models.fusion import grid
from tests.models.fusion import tiny_clipbert

_FREE = dataclasses.replace(tiny_clipbert.CNN, frozen_norm=False)


def _make(config: grid.GridConfig) -> grid.GridResNet:
  return tiny_clipbert.filled(
    lambda: grid.GridResNet(config, dtype="float32", rngs=nnx.Rngs(params=0))
  )


def _run(model, images, stats=None):
  def fn(model, images):
    new = None if stats is None else {}
    return model(images, new), new

  return jax.jit(fn)(model, images)


def test_the_published_size():
  model = jax.eval_shape(
    lambda: grid.GridResNet(
      grid.GridConfig(), dtype="float32", rngs=nnx.Rngs(params=0)
    )
  )
  # torchvision's ResNet-50 without its classifier: 25,557,032 - 2,049,000;
  # running statistics are leaves here too.
  leaves = jax.tree.leaves_with_path(model)
  num = sum(
    x.size for path, x in leaves if "running" not in jax.tree_util.keystr(path)
  )
  assert num == 23_508_032
  shape = jax.ShapeDtypeStruct((1, 448, 448, 3), np.uint8)
  run = lambda model, images: model(images)  # noqa: E731
  assert jax.eval_shape(run, model, shape).shape == (1, 14, 14, 2048)


def test_channels_keep_their_mean():
  """A picture of the mean is zero in both orders; red is last in "bgr"."""
  config = dataclasses.replace(tiny_clipbert.CNN, pixel_mean=(9.0, 8.0, 7.0))
  image = np.broadcast_to(np.array([9, 8, 7], np.uint8), (1, 2, 2, 3))
  red = image + np.array([5, 0, 0], np.uint8)
  for channels, index in (("rgb", 0), ("bgr", 2)):
    fields = dataclasses.replace(config, channels=channels)
    assert not np.any(grid.normalised(image, fields))
    assert np.argmax(grid.normalised(red, fields)[0, 0, 0]) == index


def test_statistics_move_unless_frozen():
  images = tiny_clipbert.clips(2, 1, 1)[:, 0, 0]
  _, stats = _run(_make(_FREE), images, stats=True)
  moved = jax.tree.leaves(stats)
  # Norms of the stem, the first blocks with their shortcuts, and one block.
  assert len(moved) == 2 * (1 + 4 * 4 + 3)
  _, stats = _run(_make(tiny_clipbert.CNN), images, stats=True)
  assert not jax.tree.leaves(stats)


def test_where_the_stride_is():
  """A stride in a 1 x 1 convolution leaves three of four pixels unread."""
  image = tiny_clipbert.clips(1, 1, 1)[:, 0, 0, :8, :8] / 255 - 0.5
  changed = image.at[:, 1].add(1.0)

  @jax.jit
  def difference(block):
    x, y = (block(image, None) for image in (image, changed))
    return jnp.abs(x - y).max()

  for name, is_read in (("conv1", False), ("conv2", True)):
    block = tiny_clipbert.filled(
      lambda name=name: grid.Bottleneck(
        *(3, 16),
        stride=2,
        strides_in=name,
        norm=lambda width: lambda x, stats: x,
        dtype="float32",
        rngs=nnx.Rngs(params=0),
      )
    )
    assert (difference(block) > 1e-3) == is_read


def test_max_pool_pads_with_nothing():
  x = -1.0 - jnp.arange(25.0).reshape(1, 5, 5, 1)
  pooled = convolution.max_pool(x, 3, stride=2, padding=1)[0, ..., 0]
  assert pooled.tolist() == [[-1, -2, -4], [-6, -7, -9], [-16, -17, -19]]
  whole = convolution.max_pool(x, 2, stride=2, padding=0)
  assert whole.shape == (1, 2, 2, 1)


def test_messages():
  config = dataclasses.replace(
    tiny_clipbert.CNN, depths=(1, 2), channels="gbr", pixel_std=(1.0, 0.0, 1.0)
  )
  with pytest.raises(ValueError, match="problems") as error:
    config.check()
  for field in ("depths", "channels", "pixel_std"):
    assert f"fusion.cnn.{field} must" in str(error.value)
