"""A run of seconds: 0.03 M parameters, drawings of 16 x 16 pixels.

Command: python main.py --config=tests/tiny.py --workdir=/tmp/tiny
Hardware: 1 CPU core. Expected: the loss falls from 9.8 to below 5 in 40 steps.
"""

import ml_collections

from configs import base
from configs.evaluate import emoji
from configs.parts import sources


def get_config(
  sets: str = ",".join(emoji.SUITE),
) -> ml_collections.ConfigDict:
  """Return towers of 0.03 M parameters on drawings of 16 x 16 pixels.

  Args:
    sets: names of the evaluation sets, separated by commas.
  """
  config = base.get_config()
  config.data.sources.main = sources.source(format="emoji", split="train")
  config.evaluate.sets = emoji.suite(
    config.data.sources.main, tuple(sets.split(","))
  )
  config.total_steps = 40
  config.batch_size = 16
  config.data.image_size = 16
  config.data.num_tokens = 8
  config.data.tokenizer = "bytes"
  config.data.vocab_size = 512
  config.data.augmentation.crop_scale = (0.7, 1.1)
  config.model.dtype = "float32"
  config.model.embed_dim = 16
  for tower in (config.model.image, config.model.text):
    tower.width = 16
    tower.depth = 2
    tower.num_heads = 2
    tower.mlp_width = 32
  # Its first steps do not depend on how many there are in all.
  config.optimizer.schedule = "constant"
  config.optimizer.warmup_steps = 5
  # Each save takes half a second of a core.
  config.checkpoint.every_steps = 10
  config.checkpoint.keep = 100
  config.evaluate.batch_size = 64
  return config
