"""Swin and CoSwin: sizes, stages scanned and split, what training draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import configs.parts.towers
from configs import base
from models import dual_encoder, swin
from models.detecting import anchors, backbone, detector
from models.pretrained import positions
from runtime import mesh as mesh_lib
from runtime import sections
from tests.models import towers
from training import train_state

# Grids of 9 x 9 and 5 x 5 tokens: padded windows, an odd side, odd depth.
TINY = {
  "image_size": 33,
  "widths": (8, 16),
  "depths": (2, 3),
  "num_heads": (2, 4),
  "windows": (4, 3),
  "drop_path": 0.0,
}
SWIN_B = {
  "widths": (128, 256, 512, 1024),
  "depths": (2, 2, 18, 2),
  "num_heads": (4, 8, 16, 32),
}
CONV = {"embedding": "conv", "merging": "conv"}


def make_image(**fields):
  section = configs.parts.towers.swin(base.get_config().data)
  return dataclasses.replace(
    swin.SwinConfig(**section.to_dict()), **{"image_size": 224, **fields}
  )


def make_config(model=None, **fields):
  config = {"image": make_image(**TINY | fields), "text": None, **(model or {})}
  return dataclasses.replace(towers.MODEL, **config)


# transformers 5.24.0's SwinModel of these sizes, and the projection of 512.
@pytest.mark.parametrize(
  ("fields", "expected"),
  [({}, 27_519_354 + 768 * 512), (SWIN_B, 86_743_224 + 1024 * 512)],
)
def test_published_sizes(fields, expected):
  model = dataclasses.replace(
    towers.MODEL, embed_dim=512, image=make_image(**fields), text=None
  )
  model.check()
  shapes = towers.make_shapes(model)
  assert train_state.count_params(shapes["img"]) == expected


@pytest.mark.parametrize(
  ("fields", "sides"),
  [({}, ((9, 11), (5, 6))), (CONV, ((8, 11), (4, 6)))],
)
def test_the_pyramid_has_a_map_for_each_stage(fields, sides):
  config = make_config(**fields)
  params = towers.make_shapes(config)
  graph = dual_encoder.make_graph(config)
  maps = jax.eval_shape(
    lambda params, x: dual_encoder.merge(graph, params).img.pyramid(x),
    params,
    jax.ShapeDtypeStruct((2, 34, 44, 3), np.uint8),
  )
  assert [x.shape[1:3] for x in maps] == list(sides)
  assert [x.shape[-1] for x in maps] == [8, 16]


def test_a_detector_takes_the_pyramid():
  image = make_image(
    **TINY
    | {
      "widths": (8, 8, 16, 16),
      "depths": (1, 1, 1, 1),
      "num_heads": (1, 1, 2, 2),
      "windows": (4, 4, 4, 4),
    }
  )
  model = dataclasses.replace(towers.MODEL, image=image)
  backbone.check(model)
  outputs = jax.eval_shape(
    lambda x: backbone.PictureDetector(
      detector.DetectorConfig(width=16, num_blocks=1),
      model,
      2,
      rngs=nnx.Rngs(params=0),
    )(x),
    jax.ShapeDtypeStruct((2, 64, 96, 3), np.uint8),
  )
  assert outputs.logit_bAJ.shape == (
    2,
    len(anchors.make(64, 96, 8.0).box_A4),
    2,
  )


def test_tables_of_relative_positions_can_be_resized():
  model = make_config()
  rules = {
    path: positions.rule_of(model, path)
    for path in sections.flat(towers.make_shapes(model), "/")
  }
  resized = [path for path, rule in rules.items() if rule]
  assert resized == [
    f"img/stages/{i}/blocks/attn/relative_position" for i in range(2)
  ]


def _unrolled(model, images):
  """Return the embeddings, one block after the other."""
  img = model.img
  x = img.stem(img.settings.normalise(images))
  for stage, shift in zip(img.stages.values(), (2, 1), strict=True):
    if stage.downsample is not None:
      x = stage.downsample(x)
    for i in range(len(stage.blocks.mlp.up.kernel)):
      block = jax.tree.map(lambda p, i=i: p[i], stage.blocks)
      x = block(x, shift=shift if i % 2 else 0)
  return img.projection(jnp.mean(img.norm(x), axis=(1, 2)))


def _squares(embed):
  """Return the gradient of the sum of squares, times 1 or 2, 3, ..."""

  def loss_fn(params, graph, images):
    y_bE = embed(dual_encoder.merge(graph, params), images)
    return jnp.sum(jnp.square(y_bE) * jnp.arange(1, 1 + y_bE.shape[1]))

  return jax.jit(jax.value_and_grad(loss_fn), static_argnums=1)


@pytest.fixture(scope="module")
def plain():
  """Return the tower's loss and gradient, and its arguments."""
  config = make_config()
  args = towers.make_params(config), towers.make_images(4, 33)
  loss = _loss_of(config)
  return loss(args[0], dual_encoder.make_graph(config), args[1]), *args


def _loss_of(config):
  del config
  return _squares(lambda model, images: model.img(images))


def _check_close(got, want):
  """Assert that losses and gradients agree, to float32 sums' rounding.

  A key's bias moves all logits of a softmax alike: its gradient is 0 but for
  rounding, so `atol` goes by the largest gradient.
  """
  largest = max(np.abs(x).max() for x in jax.tree.leaves(want[1]))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(
      x, y, rtol=1e-4, atol=1e-5 * float(largest)
    ),
    got,
    want,
  )


@pytest.mark.slow
def test_scanned_equals_unrolled(plain):
  want, params, images = plain
  graph = dual_encoder.make_graph(make_config())
  _check_close(_squares(_unrolled)(params, graph, images), want)


@pytest.mark.parametrize(
  "remat", [pytest.param("dense", marks=pytest.mark.long), "block"]
)
@pytest.mark.slow
def test_remat_changes_nothing(plain, remat):
  want, params, images = plain
  config = make_config({"remat": remat})
  graph = dual_encoder.make_graph(config)
  _check_close(_loss_of(config)(params, graph, images), want)


@pytest.mark.slow
def test_sharded_equals_one_device(plain):
  want, params, images = plain
  config = make_config()
  rules = (
    *configs.parts.towers.SWIN_PARTITION_RULES,
    *(x for x in base.get_config().partition_rules if "txt" not in x[0]),
  )
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 2, 2), jax.devices())
  shardings = mesh_lib.param_shardings(rules, params, mesh)
  params = jax.device_put(params, shardings)
  merging = params["img"]["stages"]["1"]["downsample"]["dense"]["kernel"]
  assert merging.addressable_shards[0].data.shape == (32, 8)
  with jax.set_mesh(mesh):
    images = mesh_lib.make_global(np.asarray(images), mesh)
    graph = dual_encoder.make_graph(config, ("data", "fsdp"))
    got = _loss_of(config)(params, graph, images)
  _check_close(jax.device_get(got), want)


def test_a_branch_left_out_preserves_the_mean():
  """The two branches are left out apart from each other."""
  rate = 0.25
  image = make_image(**TINY)
  block = swin.Block(image, 0, dtype="float32", rngs=nnx.Rngs(0))
  x_1YXC = np.random.default_rng(0).normal(size=(1, 4, 4, 8))
  # The MLP adds ones, whatever it gets: the sum of both branches is linear.
  block.mlp.down.kernel[...] = jnp.zeros_like(block.mlp.down.kernel)
  block.mlp.down.bias[...] = jnp.ones_like(block.mlp.down.bias)
  count = 4000
  keys = jax.random.split(jax.random.key(1), count)
  x_bYXC = jnp.repeat(jnp.asarray(x_1YXC, jnp.float32), count, 0)
  drawn = jax.jit(lambda b, x, k: b(x, k, rate))(block, x_bYXC, keys)
  still = jax.jit(lambda b, x: b(x))(block, x_bYXC[:1])
  branches = np.asarray(still - x_bYXC[:1])
  got = np.mean(drawn - x_bYXC, axis=0, keepdims=True)
  # Six deviations of a mean of factors 0 and 1 / (1 - rate).
  error = 6 * np.sqrt(rate / (1 - rate) / count)
  np.testing.assert_allclose(got, branches, atol=error * 1.5, rtol=0)
  outcomes = np.unique(np.round(drawn[:, 0, 0, 0], 4))
  assert len(outcomes) == 4


@pytest.mark.slow
def test_a_row_draws_for_itself():
  config = make_config(drop_path=0.9)
  model = towers.make_model(config)
  images = towers.make_images(4, 33)
  keys = jax.random.split(jax.random.key(1), 4)
  embed = jax.jit(lambda m, x, k: m.embed_images(x, k))
  drawn = embed(model, images, keys)
  # float32, in the same program
  np.testing.assert_allclose(
    embed(model, images[::-1], keys[::-1])[::-1], drawn, atol=1e-6
  )
  still = towers.embed_images(model, images)
  assert np.any(np.abs(still - drawn) > 1e-2)
  without = towers.make_model(make_config())
  np.testing.assert_array_equal(still, towers.embed_images(without, images))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"image_size": 3}, "image_size must be at least 4; got 3"),
    ({"depths": (2,)}, "must have one number for each stage"),
    ({"widths": (), "depths": (), "num_heads": (), "windows": ()}, "one numbe"),
    ({"windows": (4, 0)}, "must be at least 1"),
    ({"num_heads": (3, 4)}, "multiples of model.image.num_heads"),
    ({"merging": "mean"}, "merging must be one of patch, conv"),
    ({"embedding": "mean"}, "embedding must be one of patch, conv"),
    ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\)"),
    ({"mlp_ratio": 0.0}, "mlp_ratio must be above 0"),
    ({"activation": "relu"}, "activation must be one of"),
    ({"projection": False}, "must end with model.embed_dim"),
  ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    make_config(**fields).check()
