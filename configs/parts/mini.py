"""Settings of every `:mini` variant: a system's own parts, small, on emoji.

A mini run takes a minute on two CPU cores. It shows that towers, loss,
optimizer and rules of the system run together, not how good the system is.
"""

import ml_collections

from configs.evaluate import emoji
from configs.parts import sources

TRANSFORMER = {"width": 64, "depth": 2, "num_heads": 4, "mlp_width": 256}


def shrink(config: ml_collections.ConfigDict) -> None:
  """Set data, length and precision; the caller sets the towers."""
  config.batch_size = 64
  config.num_microbatches = 1
  config.total_steps = 100
  config.log_every_steps = 1

  config.data.sources.main = sources.source(format="emoji", split="train")
  config.data.tokenizer = "bpe"
  config.data.image_size = 32
  config.data.num_tokens = 12
  config.data.vocab_size = 1024
  config.data.augmentation.resize = "square"
  config.data.augmentation.crop_scale = (0.8, 1.2)
  config.data.augmentation.flip_probability = 0.0

  config.model.embed_dim = 64
  config.model.dtype = "float32"
  config.model.remat = "none"
  config.model.remat_chunks = 1

  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = 10
  config.checkpoint.every_steps = 100
  config.evaluate.sets = emoji.suite(
    config.data.sources.main, ("compositional",)
  )
