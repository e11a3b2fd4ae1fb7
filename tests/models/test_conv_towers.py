"""Convolutional towers: their sizes, and what training draws."""

import dataclasses

import jax
import numpy as np
import pytest

import configs.parts.towers
from configs import base
from models import convnext, dual_encoder, efficientnet, resnet
from tests.models import towers
from training import train_state

CONFIGS = {
  "resnet": resnet.ResNetConfig,
  "efficientnet": efficientnet.EfficientNetConfig,
  "convnext": convnext.ConvNeXtConfig,
}


def make_image(tower, **fields):
  section = getattr(configs.parts.towers, tower)(base.get_config().data)
  return dataclasses.replace(
    CONFIGS[tower](**section.to_dict()), **{"image_size": 224, **fields}
  )


def wide(width_factor, depth_factor):
  return {
    "width_factor": width_factor,
    "depth_factor": depth_factor,
    "projection_bias": True,
  }


# As counted in towers of open_clip 3.3.0's model_configs, and in timm 1.0.31's
# tf_efficientnet_b3, b7 and l2 (with 1000 classes).
@pytest.mark.slow
@pytest.mark.parametrize(
  ("tower", "embed_dim", "fields", "expected"),
  [
    ("resnet", 1024, {}, 38_316_896),
    (
      "resnet",
      1024,
      {
        "image_size": 448,
        "width": 128,
        "depths": (3, 15, 36, 10),
        "num_heads": 64,
      },
      420_380_352,
    ),
    ("efficientnet", 1000, wide(1.2, 1.4), 12_233_232),
    ("efficientnet", 1000, wide(2.0, 3.1), 66_347_960),
    ("efficientnet", 1000, wide(4.3, 5.3), 480_309_308),
    ("convnext", 512, {}, 88_090_752),
    (
      "convnext",
      768,
      {"widths": (192, 384, 768, 1536), "head": "mlp"},
      199_770_816,
    ),
  ],
)
def test_published_sizes(tower, embed_dim, fields, expected):
  model = dataclasses.replace(
    towers.MODEL,
    embed_dim=embed_dim,
    image=make_image(tower, **fields),
    text=None,
  )
  model.check()
  shapes = jax.eval_shape(
    lambda key: dual_encoder.init_params(model, key), jax.random.key(0)
  )
  assert train_state.count_params(shapes["img"]) == expected


def test_a_row_draws_for_itself():
  image = make_image(
    "convnext", image_size=16, depths=(2,), widths=(8,), drop_path=0.9
  )
  model = towers.make_model(
    dataclasses.replace(towers.MODEL, image=image, text=None)
  )
  images = towers.make_images(4)
  keys = jax.random.split(jax.random.key(1), 4)
  embed = jax.jit(lambda m, x, k: m.embed_images(x, k))
  drawn = embed(model, images, keys)
  # float32, in the same program
  np.testing.assert_allclose(
    embed(model, images[::-1], keys[::-1])[::-1], drawn, atol=1e-6
  )
  still = towers.embed_images(model, images)
  assert np.any(np.abs(still - drawn) > 1e-2)


@pytest.mark.parametrize(
  ("tower", "fields", "message"),
  [
    ("resnet", {"image_size": 225}, "multiple of 32 for a ResNet; got 225"),
    ("resnet", {"depths": (1, 2, 3)}, "blocks of 4 stages"),
    ("resnet", {"batch_norm_group": -1}, "batch_norm_group must be at least 0"),
    ("efficientnet", {"stages": ((1, 3, 3, 1, 8),)}, "strides 1 or 2"),
    ("efficientnet", {"padding": "none"}, "padding must be one of same, even"),
    ("efficientnet", {"drop_path": 1.0}, r"drop_path must be in \[0, 1\)"),
    ("efficientnet", {"projection": False}, "1280 channels that are pooled"),
    ("convnext", {"widths": (8, 16)}, "one number for each stage"),
    ("convnext", {"head": "map"}, "head must be one of linear, mlp"),
  ],
)
def test_fields_that_do_not_fit_are_refused(tower, fields, message):
  with pytest.raises(ValueError, match=message):
    make_image(tower, **fields).check(512)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("tower", "fields", "width"),
  [
    ("resnet", {"width": 16, "depths": (1, 1, 1, 1), "num_heads": 4}, 12),
    ("efficientnet", {"projection_bias": True}, 1280),
    ("convnext", {"widths": (8, 8, 16, 24), "depths": (1, 1, 1, 1)}, 24),
    (
      "convnext",
      {"widths": (8, 8, 16, 24), "depths": (1, 1, 1, 1), "head": "mlp"},
      24,
    ),
  ],
)
def test_features_before_the_projection(tower, fields, width):
  """A ResNet's attention pooling ends in the embedding, its features."""
  image = make_image(tower, image_size=64, **fields)
  config = dataclasses.replace(towers.MODEL, image=image)
  params = towers.make_params(config)
  features = dual_encoder.feature_fn(config)(params, towers.make_images(2, 64))
  assert features.shape == (2, width)
  assert features.dtype == np.float32


def test_chunks_that_change_nothing_are_said(capsys):
  """`stack.encode` alone cuts a batch into chunks."""
  image = make_image("convnext")
  config = dataclasses.replace(
    towers.MODEL, image=image, remat="block", remat_chunks=2
  )
  dataclasses.replace(config, image=towers.IMAGE).check()
  assert not capsys.readouterr().err
  config.check()
  said = "model.remat_chunks=2 cuts layers of transformers; the image tower,"
  assert f"{said} convnext, is" in capsys.readouterr().err
