"""CLIP-RSICD's miniature: patches of a picture of the globe (README.md)."""

import ml_collections

from configs import clip_rsicd, quickstart
from configs.evaluate import emoji
from configs.parts import sources


def get_config() -> ml_collections.ConfigDict:
  """Return the emoji model, fine-tuned on patches of a picture of the globe."""
  config = quickstart.fine_tuned()
  config.batch_size = 64
  config.total_steps = config.checkpoint.every_steps = 120
  config.evaluate.every_steps = 120
  config.optimizer.warmup_steps = 10
  config.text_lengths = (32,)  # no caption is longer
  config.loss.scope = "device"
  clip_rsicd.set_augmentation(config.data.augmentation, config.data.image_size)
  config.evaluate.sets = emoji.suite(
    sources.source(format="emoji"), ("compositional",)
  )
  clip_rsicd.set_layouts(config)
  config.data.sources.main.path = "cache/rsicd"
  return config
