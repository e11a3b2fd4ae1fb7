"""Tokens of towers, of whole images, and towers that have none."""

import dataclasses

import jax
import numpy as np
import pytest

import configs.parts.towers
from configs import base
from evaluators.dense import dense_set, features
from input_pipeline.images import image_protocols, naflex
from models import dual_encoder
from models import naflex as naflex_tower
from runtime import mesh as mesh_lib
from tests import tiny_dense
from tests.models import test_swin, towers

NAFLEX = naflex_tower.NaFlexConfig(
  tower="naflex",
  image_size=16,
  patch_size=4,
  max_num_patches=20,
  position_size=4,
  width=16,
  depth=1,
  num_heads=2,
  mlp_width=32,
  activation="gelu_tanh",
  projection=True,
  projection_bias=True,
  norm_epsilon=1e-6,
  dropout=0.0,
)
NAFLEX_PROTOCOL = naflex.Protocol(4, 20, (0.5,) * 3, (0.5,) * 3)
CLIP = image_protocols.PROTOCOLS["clip"].at(16)


def _extractor(config, protocol):
  params = towers.make_params(config)
  return features.make_extractor(
    *(config, params, mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))),
    protocol,
    batch_size=3,
    num_threads=1,
  )


def _items(folder, num=3):
  for i in range(num):
    tiny_dense.save(folder, str(i), i)
  return [
    dense_set.Item(str(folder / f"{i}.png"), str(folder / f"{i}_mask.png"))
    for i in range(num)
  ]


def test_tokens_of_a_vit_are_the_towers_without_its_class_token(tmp_path):
  config = towers.make_config({"pool": "cls", "depth": 1}, None)
  extractor, items = _extractor(config, CLIP), _items(tmp_path)
  assert extractor.batch_size == jax.device_count()
  (grid,) = extractor.stream(items)
  assert grid.tokens_bND.shape == (3, 4, 16)
  assert grid.shapes_b2.tolist() == [[2, 2]] * 3
  # Whole images, both sides resized.
  whole = features.whole(CLIP)
  assert (whole.resize, whole.resize_size, whole.size) == ("squash", 16, 16)
  images = np.stack([whole.apply(tiny_dense.arrays(i)[0]) for i in range(3)])
  model = towers.make_model(config)
  pooled, tokens = model.img.embedding_and_tokens(images)
  # Programs of other batches sum in other orders.
  np.testing.assert_allclose(grid.tokens_bND, tokens, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(grid.pooled_bE, pooled, rtol=1e-4, atol=1e-4)
  assert extractor.most_places(grid, [(32, 40)]) == (2, 2)


def test_tokens_of_naflex_are_the_towers(tmp_path):
  config = dataclasses.replace(towers.MODEL, image=NAFLEX, text=None)
  extractor, items = _extractor(config, NAFLEX_PROTOCOL), _items(tmp_path)
  (grid,) = extractor.stream(items)
  assert grid.tokens_bND.shape == (3, 20, 16)
  assert grid.shapes_b2.tolist() == [[4, 5]] * 3
  parts = [NAFLEX_PROTOCOL.apply(tiny_dense.arrays(i)[0]) for i in range(3)]
  patches, shapes = (np.stack(x) for x in zip(*parts, strict=True))
  model = towers.make_model(config)
  pooled, tokens = model.img.embedding_and_tokens(
    naflex_tower.Patches(patches, shapes)
  )
  np.testing.assert_allclose(grid.tokens_bND, tokens, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(grid.pooled_bE, pooled, rtol=1e-4, atol=1e-4)
  # The widest and the tallest of all images.
  assert extractor.most_places(grid, [(32, 40), (10, 80), (90, 9)]) == (10, 10)
  assert extractor.image_side == 16


def _resnet():
  section = configs.parts.towers.resnet(base.get_config().data)
  section.update({"image_size": 64, "depths": (1, 1, 1, 1), "width": 8})
  return dataclasses.replace(
    towers.MODEL,
    image=dual_encoder.resnet.ResNetConfig(**section.to_dict()),
    text=None,
  )


@pytest.mark.parametrize(
  ("make_config", "side", "expected"),
  [(test_swin.make_config, 33, (2, 25, 16)), (_resnet, 64, (2, 4, 256))],
)
def test_feature_maps_of_other_towers_are_tokens(make_config, side, expected):
  config = make_config()
  shapes = jax.eval_shape(
    features.grid_fn(config),
    towers.make_shapes(config),
    jax.ShapeDtypeStruct((2, side, side, 3), np.uint8),
  )
  assert shapes.tokens_bND.shape == expected
  assert shapes.shapes_b2.shape == (2, 2)
  features.check(config, "here")


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (None, "a has no image tower"),
    ("efficientnet", 'naflex, swin, resnet, convnext\\); got "efficientnet"'),
    ("queries", "a tower that pools with queries"),
  ],
)
def test_towers_without_tokens_are_refused(image, message):
  if image == "queries":
    config = towers.make_config({"pool": "queries"})
  else:
    config = dataclasses.replace(towers.MODEL, image=None)
  if image == "efficientnet":
    section = configs.parts.towers.efficientnet(base.get_config().data)
    tower = dual_encoder.efficientnet.EfficientNetConfig(**section.to_dict())
    config = dataclasses.replace(config, image=tower)
  with pytest.raises(ValueError, match=message):
    features.check(config, "a")


def test_broken_images_are_named(tmp_path):
  items = _items(tmp_path)
  (tmp_path / "1.png").write_bytes(b"no picture")
  config = towers.make_config({"depth": 1})
  extractor = _extractor(config, CLIP)
  with pytest.raises(ValueError, match="1.png"):
    next(extractor.stream(items))
