"""A run of seconds that finds the objects of a fixture; --task=detect."""

import ml_collections

from configs.parts import towers
from tests import tiny


def get_config() -> ml_collections.ConfigDict:
  """Return a tiny ResNet and one block of Dynamic Head, 4 steps; no path."""
  config = tiny.get_config()
  config.evaluate.sets = ml_collections.ConfigDict()
  config.total_steps = 4
  config.batch_size = 4
  config.evaluate.batch_size = 4
  config.evaluate.every_steps = 2
  config.checkpoint.every_steps = 2
  config.optimizer.warmup_steps = 0
  config.partition_rules = ((r".*", ()),)
  config.data.image_size = 32
  config.model.image = towers.resnet(config.data)
  image = config.model.image
  image.width, image.depths, image.num_heads = 4, (1, 1, 1, 1), 4
  config.optimizer.freeze = (
    (r"img/(position|attn)(/.*)?", True),
    (r".*", False),
  )
  detection = config.detection
  detection.layout = "table"
  detection.train, detection.test = "train", "test"
  detection.height = detection.width = 64
  detection.max_boxes = 4
  detection.model.width = 16
  detection.model.num_blocks = 1
  detection.model.anchor_scale = 4.0
  return config
