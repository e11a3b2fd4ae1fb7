"""PLIP's miniature: parts of micrographs (README.md)."""

import ml_collections

from configs import plip, quickstart
from configs.evaluate import emoji
from configs.parts import sources
from evaluators.sets import kinds

_FOLDER = "cache/plip"


def get_config() -> ml_collections.ConfigDict:
  """Return the emoji model, fine-tuned on parts of micrographs."""
  config = quickstart.fine_tuned()
  config.total_steps = 200
  config.optimizer.learning_rate = 3e-4
  config.optimizer.warmup_steps = 20
  config.checkpoint.every_steps = config.evaluate.every_steps = 100
  plip.set_augmentation(config)
  config.data.sources.main = _parts("train")
  config.evaluate.sets = emoji.suite(
    sources.source(format="emoji"), ("compositional",)
  )
  config.evaluate.sets.test = kinds.classification(
    _parts("test").to_dict(),
    label="label",
    prompts=("a micrograph of {c}",),
    training=f"{_FOLDER}/train.jsonl",
  )
  return config


def _parts(split: str) -> ml_collections.ConfigDict:
  return sources.source(format="table", path=f"{_FOLDER}/{split}.jsonl")
