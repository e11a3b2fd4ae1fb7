"""Configs of Dynamic Head: they build, in the sizes of the released code."""

import math

import jax
import pytest

from configs import dynamic_head
from models.detecting import anchors
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import train_step


@pytest.mark.parametrize("variant", ["rn50", "convnext", "agnostic"])
def test_variants_build(variant: str):
  config = config_lib.checked(dynamic_head.get_config(variant).to_dict())
  mesh = mesh_lib.make_mesh(config.mesh)
  program = train_step.make(config, mesh)
  params = program.state.params
  assert params.keys() == {"img", "detector"}
  num_classes = 1 if variant == "agnostic" else 80
  kernel = params["detector"]["logits"]["kernel"]
  assert kernel.shape == (1, 1, 256, num_classes)
  # 3 deformable convolutions, offsets and masks, 3 norms, both attentions.
  block = 3 * (9 * 256**2 + 256) + 9 * 256 * 27 + 27 + 6 * 256 + 257
  block += 256 * 64 + 64 + 64 * 1024 + 1024
  leaves = jax.tree.leaves(params["detector"]["blocks"])
  assert {leaf.shape[0] for leaf in leaves} == {6}
  assert sum(math.prod(leaf.shape) for leaf in leaves) == 6 * block
  assert program.batch.images.shape == (32, 800, 1344, 3)


def test_classes_and_anchors_are_cocos():
  assert len(set(dynamic_head.COCO)) == 80
  made = anchors.make(800, 1344, 8.0)
  assert made.sizes == (16_800, 4_200, 1_050, 273, 77)
