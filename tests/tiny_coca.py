"""Runs of seconds of a CoCa: pairs and captions."""

import ml_collections

from configs import coca
from configs.parts import sources
from training import config as config_lib

TINY = {"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32}
# Fields of configs/coca.py:mini.
CHANGES = {
  "batch_size": 4,
  "data.image_size": 16,
  "data.num_tokens": 6,
  "data.vocab_size": 40,
  "model.dtype": "float32",
  "model.embed_dim": 16,
  "model.image.image_size": 16,
  "model.image.num_queries": 3,
  "model.image.pool_heads": 2,
  "model.text.num_tokens": 6,
  "model.text.vocab_size": 40,
  "captioning.captioner.width": 16,
  "captioning.captioner.depth": 1,
  "captioning.captioner.num_heads": 2,
  "captioning.captioner.mlp_width": 64,
  "captioning.captioner.vocab_size": 40,
  "captioning.captioner.num_tokens": 6,
  **{f"model.image.{name}": x for name, x in TINY.items()},
  **{f"model.text.{name}": x for name, x in TINY.items()},
}


def get_config() -> ml_collections.ConfigDict:
  """Return a tiny run of 4 steps of 4 pairs of a folder."""
  config = coca.get_config("mini")
  config.evaluate.sets = ml_collections.ConfigDict()
  config.update_from_flattened_dict(CHANGES)
  config.total_steps = 4
  config.checkpoint.every_steps = 2
  config.optimizer.warmup_steps = 1
  config.data.sources.main = sources.source(format="folder")
  config.data.num_threads = 1
  config.data.tokenizer = "bytes"
  config.data.vocab_size = config.model.text.vocab_size = 264
  config.captioning.captioner.vocab_size = 264
  return config


def make_config(**changes) -> config_lib.Config:
  """Return it checked and frozen, with changes of its flattened fields."""
  values = get_config()
  values.update_from_flattened_dict(changes)
  return config_lib.from_mapping(values.to_dict())
