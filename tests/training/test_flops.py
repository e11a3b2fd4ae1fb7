"""The FLOP count against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P

from models import dual_encoder
from runtime import mesh as mesh_lib
from tests import runs
from training import flops

_X = jax.ShapeDtypeStruct((5, 7), jnp.float32)
_W = jax.ShapeDtypeStruct((7, 11), jnp.float32)
_SQUARE = jax.ShapeDtypeStruct((7, 7), jnp.float32)


def test_matmul():
  assert flops.count(jnp.dot, _X, _W) == 2 * 5 * 7 * 11


def test_batched_and_gradient():
  x = jax.ShapeDtypeStruct((3, 5, 7), jnp.float32)
  assert flops.count(lambda x, w: x @ w, x, _W) == 3 * 2 * 5 * 7 * 11
  grad = jax.grad(lambda w, x: jnp.sum(jnp.square(x @ w)))
  # Forward and the weight's gradient; none for x.
  assert flops.count(grad, _W, x) == 2 * 3 * 2 * 5 * 7 * 11


def test_convolution():
  x = jax.ShapeDtypeStruct((2, 3, 8, 8), jnp.float32)
  w = jax.ShapeDtypeStruct((4, 3, 2, 2), jnp.float32)
  conv = lambda x, w: jax.lax.conv_general_dilated(  # noqa: E731
    x, w, (2, 2), "VALID"
  )
  assert flops.count(conv, x, w) == 2 * (2 * 4 * 4 * 4) * (3 * 2 * 2)


def _layers(length, remat=False):
  def run(x, w):
    layer = lambda x, _: (jnp.tanh(x @ w), None)  # noqa: E731
    if remat:
      layer = jax.checkpoint(layer)
    return jnp.sum(jax.lax.scan(layer, x, length=length)[0])

  return run


def test_scan_counts_every_turn():
  one = 2 * 5 * 7 * 7
  assert flops.count(_layers(9), _X, _SQUARE) == 9 * one
  grad = jax.grad(_layers(9), argnums=(0, 1))
  assert flops.count(grad, _X, _SQUARE) == 3 * 9 * one


def test_recomputation_is_counted():
  one = 2 * 5 * 7 * 7
  grad = jax.grad(_layers(9, remat=True), argnums=(0, 1))
  assert flops.count(grad, _X, _SQUARE) == 4 * 9 * one


def test_cond_counts_the_larger_branch():
  def run(flag, x, w):
    return jax.lax.cond(
      flag, lambda: jnp.sum(x @ w @ w.T), lambda: jnp.sum(x @ w)
    )

  flag = jax.ShapeDtypeStruct((), bool)
  assert flops.count(run, flag, _X, _W) == 2 * (2 * 5 * 7 * 11)


def test_shard_map_counts_all_shards():
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 2, 2))
  x = jax.ShapeDtypeStruct((8, 7), jnp.float32)
  rows = P(("data", "fsdp"))
  split = jax.shard_map(
    jnp.dot, mesh=mesh, in_specs=(rows, P()), out_specs=rows
  )
  # 4 parts of 2 rows, each of which two devices along "tensor" compute.
  assert flops.count(split, x, _W) == 2 * (2 * 8 * 7 * 11)


@pytest.mark.parametrize("depth", [2, 5])
def test_towers(depth):
  """The image tower's matmuls, added up by hand."""
  config = runs.make_config(
    {"model.image.depth": depth, "model.image.pool": "gap"}
  ).model
  batch, patches, width, mlp = 3, 4, 16, 32
  patch = 2 * batch * patches * (8 * 8 * 3) * width
  attention = 4 * (2 * batch * patches * width * width)
  attention += 2 * (2 * batch * patches * patches * width)
  mlps = 2 * (2 * batch * patches * width * mlp)
  head = 2 * batch * width * config.embed_dim
  embed_images, _ = dual_encoder.embed_fns(config)
  params = jax.eval_shape(
    lambda key: dual_encoder.init_params(config, key), jax.random.key(0)
  )
  images = jax.ShapeDtypeStruct((batch, 16, 16, 3), np.uint8)
  got = flops.count(embed_images, params, images)
  assert got == patch + depth * (attention + mlps) + head
