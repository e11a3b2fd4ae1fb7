"""Convolutional towers on a mesh that splits kernels and batch by one axis."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from configs import base
from configs.parts import towers as configs_towers
from models import dual_encoder
from runtime import mesh as mesh_lib
from tests.losses import pairs
from tests.models import towers
from tests.models.test_conv_towers import make_image

# Images of all devices: no side and no number of channels is this number, a
# half or a quarter of it.
_BATCH = 44
_SIZES = {
  "resnet": {"width": 16, "depths": (2, 2, 2, 2), "num_heads": 4},
  "efficientnet": {
    "projection_bias": True,
    "stages": ((1, 3, 1, 1, 16), (2, 5, 2, 6, 24)),
    "head_width": 0,
  },
}


@pytest.mark.parametrize("tower", _SIZES)
def test_devices_hold_their_own_images_alone(tower):
  """Kernels are gathered, and no image: memory would be that of all images.

  ALIGN's EfficientNet-L2 needed 561 GiB a chip of TPU v4, on a mesh of 64 x 8,
  where the compiler chose to split channels and to gather images.
  """
  mesh = pairs.make_mesh(2, 2, 2)
  image = make_image(tower, image_size=64, **_SIZES[tower])
  config = dataclasses.replace(
    towers.MODEL, image=image, text=None, remat="block"
  )
  graph = dual_encoder.make_graph(config, mesh_lib.BATCH_AXES)
  params = towers.make_shapes(config)
  rules = (
    configs_towers.CONV_PARTITION_RULES[0],
    *base.get_config().partition_rules[-1:],
  )
  shardings = mesh_lib.param_shardings(rules, params, mesh)
  assert "fsdp" in str(jax.tree.leaves(shardings["img"]["stages"]))

  def loss(params, images):
    model = dual_encoder.merge(graph, params)
    return jnp.mean(jnp.square(model.embed_images(images)))

  with jax.set_mesh(mesh):
    step = jax.jit(
      jax.grad(loss), in_shardings=(shardings, mesh_lib.batch_sharding(mesh))
    )
    images = jax.ShapeDtypeStruct((_BATCH, 64, 64, 3), jnp.uint8)
    program = step.lower(params, images).compile().as_text()
  # Rank 4: images, not kernels; a stack's have a leading axis of its blocks.
  counts = {
    int(count)
    for count in re.findall(r"\w\[(?:\d+,)?(\d+),\d+,\d+,\d+\]", program)
  }
  assert _BATCH // 4 in counts
  assert not counts & {_BATCH, _BATCH // 2}
