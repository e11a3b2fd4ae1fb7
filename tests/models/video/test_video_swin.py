"""Video Swin: inflation, windows of clips, order of frames."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import swin, tower
from models.video import clip_windows, video_swin
from tests.models.fusion import tiny_clipbert

IMAGE = swin.SwinConfig(
  tower="swin",
  image_size=40,
  embedding="conv",
  merging="conv",
  widths=(8, 16),
  depths=(2, 3),
  num_heads=(2, 2),
  windows=(4, 3),
  mlp_ratio=2.0,
  activation="gelu",
  mask_padding=True,
  projection=True,
  projection_bias=True,
  norm_epsilon=1e-5,
  drop_path=0.0,
)
VIDEO = video_swin.VideoConfig(windows=(2, 2))
SETTINGS = tower.Settings(
  embed_dim=6,
  mean=(0.5, 0.4, 0.3),
  std=(0.5, 0.25, 0.2),
  dtype="float32",
  remat="none",
  remat_chunks=1,
  batch_axes=(),
)


def _towers(kind: str, **video):
  """Return an image tower, and its inflation, of random parameters."""
  image = dataclasses.replace(IMAGE, embedding=kind, merging=kind)
  config = dataclasses.replace(VIDEO, **video)
  flat = tiny_clipbert.filled(
    lambda: swin.Swin(image, SETTINGS, rngs=nnx.Rngs(params=0)), noise=0.3
  )
  params = nnx.to_pure_dict(nnx.split(flat)[1])
  graph, shapes = nnx.split(
    jax.eval_shape(
      lambda: video_swin.VideoSwin(
        image, config, SETTINGS, rngs=nnx.Rngs(params=0)
      )
    )
  )
  inflated = video_swin.inflate(params, image, config)
  assert jax.tree.map(jnp.shape, inflated) == jax.tree.map(
    lambda x: x.shape, nnx.to_pure_dict(shapes)
  )
  return flat, nnx.merge(graph, inflated)


_embed = jax.jit(lambda model, x: model(x))


# Five frames: three pairs of the tokeniser, windows of two, cut and shifted.
@pytest.mark.parametrize("kind", ["conv", "patch"])
def test_equal_frames_are_embedded_as_one(kind: str):
  flat, inflated = _towers(kind)
  images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
  clips = np.repeat(images[:, None], 5, axis=1)
  expected, got = _embed(flat, images), _embed(inflated, clips)
  # float32 sums over copies.
  scale = np.abs(expected).max()
  np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=2e-5)
  if kind == "conv":
    clips[:, 2:] = 255 - clips[:, 2:]
    there, back = _embed(inflated, clips), _embed(inflated, clips[:, ::-1])
    assert np.abs(there - expected).max() > 1e-3 * scale
    assert np.abs(there - back).max() > 1e-4 * scale


def test_partition_and_its_inverse():
  x = np.arange(2 * 4 * 6 * 9 * 2).reshape(2, 4, 6, 9, 2)
  cut = clip_windows.partition(x, 2, 3)
  assert cut.shape == (2, 12, 18, 2)
  for index, (frame, row, column) in enumerate(np.ndindex(2, 2, 3)):
    window = x[
      :,
      2 * frame : 2 * frame + 2,
      3 * row : 3 * row + 3,
      3 * column : 3 * column + 3,
    ]
    np.testing.assert_array_equal(cut[:, index], window.reshape(2, 18, 2))
  np.testing.assert_array_equal(clip_windows.join(cut, (4, 6, 9), 2, 3), x)


@pytest.mark.parametrize("num", [4, 5])
def test_the_mask_equals_brute_force(num: int):
  """Tokens attend within shifted windows, not around the ends of a clip."""
  frames, size, time_shift, shift = 2, 2, 1, 1
  sides = (num + num % 2, 4, 4)
  index = np.arange(np.prod(sides)).reshape(1, *sides, 1)
  rolled = np.roll(index, (-time_shift, -shift, -shift), (1, 2, 3))
  cut = clip_windows.partition(rolled, frames, size)[0, ..., 0]
  numbers = clip_windows.regions(
    *(num, 4, 4),
    frames=frames,
    size=size,
    time_shift=time_shift,
    shift=shift,
    mask_padding=True,
  )
  got = np.zeros((index.size,) * 2, bool)
  for tokens, number in zip(cut, numbers, strict=True):
    got[np.ix_(tokens, tokens)] = number[:, None] == number
  places = np.array(np.unravel_index(np.arange(index.size), sides)).T
  # Shifted windows begin at odd places; the first is half a window.
  window = (places + (time_shift, shift, shift)) // (frames, size, size)
  want = (window[:, None] == window).all(-1)
  is_real = places[:, 0] < num
  np.testing.assert_array_equal(
    got[np.ix_(is_real, is_real)], want[np.ix_(is_real, is_real)]
  )
  assert not got[np.ix_(is_real, ~is_real)].any()


@pytest.mark.long
def test_branches_are_dropped_by_clip():
  image = dataclasses.replace(IMAGE, drop_path=0.9, embedding="patch")
  model = tiny_clipbert.filled(
    lambda: video_swin.VideoSwin(
      image, VIDEO, SETTINGS, rngs=nnx.Rngs(params=0)
    ),
    noise=0.3,
  )
  clips = np.random.default_rng(0).integers(0, 256, (2, 2, 24, 24, 3), np.uint8)
  keys = tiny_clipbert.keys(2)
  run = jax.jit(lambda model, *args: model(*args))
  dropped = run(model, clips, keys)
  assert (np.abs(dropped - run(model, clips)).max(1) > 1e-4).all()
  back = run(model, clips[::-1], keys[::-1])
  np.testing.assert_allclose(back[::-1], dropped, rtol=1e-4, atol=1e-5)


def test_messages():
  config = functools.partial(dataclasses.replace, VIDEO)
  with pytest.raises(ValueError, match="video.merge_frames must be odd"):
    config(merge_frames=2).check(IMAGE)
  with pytest.raises(ValueError, match=r"video\.windows must have a number"):
    config(windows=(2,)).check(IMAGE)
