"""Detector: shapes, gradients, scale and task attention, decoding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import dual_encoder, resnet
from models.detecting import (
  anchors,
  backbone,
  boxes,
  decoding,
  detector,
  dynamic_head,
)
from runtime import checks
from tests.models import towers

RNG = np.random.default_rng(0)
IMAGE = resnet.ResNetConfig(
  tower="resnet",
  image_size=32,
  width=4,
  depths=(1, 1, 1, 1),
  num_heads=4,
  batch_norm_group=0,
  norm_epsilon=1e-5,
  norm_momentum=0.9,
)
TOWERS = dataclasses.replace(towers.MODEL, image=IMAGE)
CONFIG = detector.DetectorConfig(width=16, num_blocks=1)


@pytest.fixture(scope="module")
def model():
  return backbone.PictureDetector(CONFIG, TOWERS, 2, rngs=nnx.Rngs(params=0))


def test_outputs_are_those_of_the_anchors(model):
  """A picture that is not square has the positions of its anchors."""
  images = RNG.integers(0, 256, (2, 64, 96, 3), np.uint8)
  outputs = jax.jit(lambda model, images: model(images))(model, images)
  num = len(anchors.make(64, 96, 8.0).box_A4)
  assert outputs.logit_bAJ.shape == (2, num, 2)
  assert outputs.delta_bA4.shape == (2, num, 4)
  assert outputs.centre_bA.shape == (2, num)
  # The prior of 0.01: all features are near 0 at first.
  probability = jax.nn.sigmoid(outputs.logit_bAJ)
  np.testing.assert_allclose(probability, 0.01, rtol=0.2)


def test_the_pyramid_ends_in_the_pooled_map():
  """The embedding of a tower is made of its pyramid's last map."""
  encoder = dual_encoder.DualEncoder(
    dataclasses.replace(TOWERS, text=None), rngs=nnx.Rngs(params=0)
  )
  shapes = jax.eval_shape(
    encoder.img.pyramid, jax.ShapeDtypeStruct((2, 64, 32, 3), np.uint8)
  )
  assert [x.shape for x in shapes] == [
    (2, 16, 8, 16),
    (2, 8, 4, 32),
    (2, 4, 2, 64),
    (2, 2, 1, 128),
  ]


def test_towers_without_a_pyramid_are_refused():
  with pytest.raises(ValueError, match="tower must be one of resnet, convnext"):
    backbone.check(towers.MODEL)
  short = dataclasses.replace(IMAGE, depths=(1, 1))
  with pytest.raises(ValueError, match="must be those of 4 stages"):
    backbone.check(dataclasses.replace(TOWERS, image=short))


def test_wrong_widths_are_named():
  bad = detector.DetectorConfig(width=24, num_blocks=-1, anchor_scale=0)
  with (
    pytest.raises(ValueError, match="3 problems") as error,
    checks.collected(),
  ):
    bad.check()
  assert "detection.model.width must be a multiple of the 16" in str(
    error.value
  )


def test_group_norm_has_mean_0_in_each_group():
  norm = dynamic_head.GroupNorm(32, dtype="float32")
  x = RNG.normal(3, 2, (2, 4, 5, 32)).astype(np.float32)
  y = np.asarray(norm(x)).reshape(2, 20, 16, 2)
  np.testing.assert_allclose(y.mean((1, 3)), 0, atol=1e-5)
  np.testing.assert_allclose(y.std((1, 3)), 1, atol=1e-3)


def test_the_dynamic_relu_begins_as_a_relu():
  task = dynamic_head.DynamicRelu(16, dtype="float32", rngs=nnx.Rngs(params=0))
  x = RNG.normal(size=(1, 3, 3, 16)).astype(np.float32)
  np.testing.assert_array_equal(task(x), np.maximum(x, 0))
  # Hard sigmoids of 1: the lines are 2 x + 1/2 and x + 1/2.
  task.up.bias[...] = jnp.full((64,), 3.0)
  np.testing.assert_allclose(
    task(x), np.maximum(2 * x + 0.5, x + 0.5), rtol=1e-6
  )


def test_a_block_reads_its_neighbours():
  """Each level depends on itself and on the next finer and coarser level."""
  block = dynamic_head.Block(16, dtype="float32", rngs=nnx.Rngs(params=0))
  block.places.kernel[...] += 0.1  # offsets of their own
  levels = [
    jnp.asarray(RNG.normal(size=(1, n, n, 16)), jnp.float32) for n in (5, 3, 2)
  ]

  @jax.jit
  def level_grads(levels):
    made, pull_back = jax.vjp(block, levels)
    zeros = [jnp.zeros_like(x) for x in made]
    rows = []
    for i, x in enumerate(made):
      (row,) = pull_back([*zeros[:i], x, *zeros[i + 1 :]])
      rows.append(row)
    return made, rows

  made, grads = level_grads(levels)
  is_read = [[bool(jnp.any(g)) for g in row] for row in grads]
  assert is_read == [
    [True, True, False],
    [True, True, True],
    [False, True, True],
  ]
  assert [x.shape for x in made] == [x.shape for x in levels]


@pytest.mark.slow
def test_scanned_blocks_equal_one_after_the_other():
  """Recomputed, in value and gradient; two levels, to be quick."""
  levels = [
    jnp.asarray(RNG.normal(size=(1, n, n, 16)), jnp.float32) for n in (4, 2)
  ]

  def apart(model, levels):
    for i in range(2):
      levels = jax.tree.map(lambda x: x[i], model.blocks)(levels)  # noqa: B023
    return levels

  def total_fn(levels_fn):
    return lambda model: sum(
      jnp.sum(jnp.sin(x)) for x in levels_fn(model, levels)
    )

  made = detector.Detector(
    *(dataclasses.replace(CONFIG, num_blocks=2), (8, 8, 8), 1),
    dtype="float32",
    remat="block",
    rngs=nnx.Rngs(params=0),
  )
  made.blocks.places.kernel[...] += 0.1  # offsets of their own
  got, want = (
    jax.jit(jax.value_and_grad(total_fn(levels_fn)))(made)
    for levels_fn in (detector.Detector.run_blocks, apart)
  )
  assert float(got[0]) == pytest.approx(float(want[0]), rel=1e-5)
  for x, y in zip(*map(jax.tree.leaves, (got[1], want[1])), strict=True):
    # Sums in another order; the largest gradient is some 10.
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


def test_decoding_finds_what_was_encoded():
  """Two objects, each claimed by many positions; a third is too unlikely."""
  made = anchors.make(64, 64, 4.0)
  box_M4 = np.float32([[4, 4, 30, 30], [35, 30, 60, 70], [0, 40, 20, 60]])
  logit_A = np.full(len(made.box_A4), -9.0, np.float32)
  wanted_A4 = np.tile(box_M4[0], (len(made.box_A4), 1))
  for m, (rows, logit) in enumerate(
    [((0, 1, 2, 64), 4.0), ((3, 4), 2.0), ((5,), -3.5)]
  ):
    for row in rows:
      wanted_A4[row], logit_A[row] = box_M4[m], logit
  outputs = detector.Outputs(
    jnp.asarray(logit_A)[None, :, None],
    boxes.encode(wanted_A4, made.box_A4)[None],
    jnp.full((1, len(made.box_A4)), 5.0),
  )
  got = jax.jit(lambda outputs: decoding.decode(outputs, made, 64, 64))(outputs)
  score_M = got.score_bM[0]
  assert int((score_M > 0).sum()) == 2
  cut_M4 = np.minimum(box_M4[:2], 64)  # at the picture's side
  np.testing.assert_allclose(got.box_bM4[0, :2], cut_M4, atol=1e-3)
  assert not got.box_bM4[0, 2:].any()
  want = np.sqrt(jax.nn.sigmoid(jnp.array([4.0, 2.0])) * jax.nn.sigmoid(5.0))
  np.testing.assert_allclose(score_M[:2], want, rtol=1e-5)
