"""Quickstart: emoji drawings and their names, on a laptop CPU.

Data: OpenMoji drawings, Unicode CLDR names; no paper's recipe.
Command:
  python main.py --config=configs/quickstart.py --workdir=runs/quickstart
Hardware: 2 CPU cores.
Expected: R@1 0.84 of 304 (compositional), 0.20 of 240 (unseen concept); see
experiments/quickstart/README.md.
"""

import ml_collections

from configs import base
from configs.evaluate import emoji
from configs.parts import sources


def get_config() -> ml_collections.ConfigDict:
  """Return towers of 2.6 M parameters that train in minutes."""
  config = base.get_config()
  config.total_steps = 660
  config.batch_size = 128

  config.data.sources.main = sources.source(format="emoji", split="train")
  config.data.image_size = 64
  # English names have 12 tokens at most.
  config.data.num_tokens = 12
  config.data.vocab_size = 1536
  config.data.augmentation.crop_scale = (0.8, 1.2)
  # Not mirrored: names of drawings contain "facing right".
  config.data.augmentation.flip_probability = 0.0

  config.model.dtype = "float32"  # bfloat16 is not faster on a CPU
  config.model.remat = "dense"
  config.model.embed_dim = 192
  image = config.model.image
  image.patch_size = 16
  image.width = 192
  image.depth = 4
  image.num_heads = 4
  image.mlp_width = 768
  image.pool = "gap"
  text = config.model.text
  text.width = 128
  text.depth = 2
  text.num_heads = 4
  text.mlp_width = 512
  text.pool = "mean"

  # On a small data set the softmax loss learns faster than the sigmoid.
  config.loss.name = "softmax"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = 60
  config.optimizer.weight_decay = 0.1

  config.checkpoint.every_steps = 165
  config.evaluate.every_steps = 165
  config.evaluate.sets = emoji.suite(config.data.sources.main)
  return config


def fine_tuned() -> ml_collections.ConfigDict:
  """Return the model as miniatures of domains fine-tune it.

  It begins with a run of the quickstart with room for longer texts:
  --config.data.num_tokens=64 --config.text_lengths="(16,)"
  --workdir=runs/emoji_base. Its sets of emoji stay,
  to see what is forgotten.
  """
  config = get_config()
  config.init_from = "runs/emoji_base"
  config.data.num_tokens = 64
  config.text_lengths = (16, 32)
  config.total_steps = 300
  config.optimizer.learning_rate = 5e-4
  config.checkpoint.every_steps = 300
  config.evaluate.every_steps = 300
  return config
