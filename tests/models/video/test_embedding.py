"""Embeddings of videos: means over frames and views, inflated towers."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from configs import base
from configs.parts import towers
from models import dual_encoder, lora, vit
from models.pretrained import mapping
from models.video import embedding, video_swin
from runtime import sections
from tests.models.pretrained.families import mirror
from tests.models.video import test_video_swin

INFLATION = video_swin.VideoConfig(windows=(2, 2))
_SIDE = 16
# Videos, views, frames: one shape, compiled once. Five frames are three pairs
# of the tokeniser, whose order the inflated tower sees.
_SHAPE = (2, 3, 5)
CONFIG = dual_encoder.ModelConfig(
  embed_dim=6,
  dtype="float32",
  remat="none",
  remat_chunks=1,
  scale_init=1.0,
  scale_max=0.0,
  bias_init=0.0,
  image_mean=(0.5, 0.4, 0.3),
  image_std=(0.5, 0.25, 0.2),
  image=dataclasses.replace(
    test_video_swin.IMAGE, image_size=_SIDE, depths=(1, 1), widths=(4, 8)
  ),
  text=None,
)


@pytest.fixture(scope="module")
def params():
  return mapping.nested(mirror.random_params(CONFIG))


@functools.cache
def _embed(tower: str, aggregation: str = embedding.NORMALISED_MEAN):
  config = embedding.EmbeddingConfig(tower, aggregation, INFLATION)
  return jax.jit(embedding.embed_fn(CONFIG, config))


@functools.cache
def _embed_images():
  return jax.jit(dual_encoder.embed_fns(CONFIG)[0])


def _frames(params, views: np.ndarray) -> np.ndarray:
  """Return the embedding of each frame, [videos, views * frames, E]."""
  rows = _embed_images()(params, views.reshape(-1, *views.shape[3:]))
  return np.asarray(rows).reshape(len(views), -1, CONFIG.embed_dim)


def _views() -> np.ndarray:
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (*_SHAPE, _SIDE, _SIDE, 3), np.uint8)


@pytest.mark.parametrize("tower", embedding.TOWERS)
def test_equal_frames_are_embedded_as_the_image(params, tower):
  views = _views()
  views[:] = views[:, :1, :1]
  expected = _frames(params, views)[:, 0]
  # float32 sums over copies.
  got = _embed(tower)(params, views)
  np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
  assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_the_image_tower_takes_the_mean_over_all_frames(params):
  views = _views()
  mean = _frames(params, views).mean(1)
  expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
  got = _embed("image")(params, views)
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
  # Rows of other lengths weigh other than rows of length 1.
  other = _embed("image", embedding.MEAN)(params, views)
  np.testing.assert_allclose(np.linalg.norm(other, axis=1), 1, rtol=1e-5)
  assert np.abs(other - got).max() > 1e-4


@pytest.mark.parametrize("tower", embedding.TOWERS)
def test_the_order_of_views_changes_nothing(params, tower):
  views = _views()
  expected = _embed(tower)(params, views)
  got = _embed(tower)(params, views[:, [2, 0, 1]])
  # The order of a sum of float32.
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
  # The order of frames is seen by the inflated tower alone.
  turned = np.abs(_embed(tower)(params, views[:, :, ::-1]) - expected).max()
  assert turned < 1e-6 if tower == embedding.IMAGE else turned > 1e-4


def test_messages():
  config = embedding.EmbeddingConfig("inflated", "mean", INFLATION)
  config.check(CONFIG, "video")
  section = towers.vit(base.get_config().data).to_dict()
  kind = sections.make(vit.ViTConfig, section, see="")
  with pytest.raises(ValueError, match="video.tower must be .image. for model"):
    config.check(dataclasses.replace(CONFIG, image=kind), "video")
  with pytest.raises(ValueError, match=r"video.clips must be 0 for a model"):
    config.check(dataclasses.replace(CONFIG, image=None), "video")
  other = dataclasses.replace(INFLATION, windows=(2,))
  other = dataclasses.replace(config, inflation=other)
  with pytest.raises(ValueError, match=r"video.inflation.windows must have"):
    other.check(CONFIG, "video")
  low = lora.LoraConfig(rank=2, alpha=1.0, maps=("img/.*",))
  with pytest.raises(ValueError, match="video.tower must be .image. with mode"):
    config.check(dataclasses.replace(CONFIG, lora=low), "video")
