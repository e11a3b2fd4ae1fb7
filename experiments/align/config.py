"""ALIGN's claims in miniature: noise, temperature, languages (README.md).

Data: python -m experiments.align.prepare. Loss, label smoothing and the start
  of the temperature are ALIGN's (configs/align.py); towers and rate are those
  of experiments/siglip.
"""

from typing import Any

import ml_collections

from configs.parts import sources
from evaluators.sets import kinds
from experiments.parts import emoji_run, emoji_styles

FOLDER = "cache/align"
NUM_EXAMPLES = 65_536
VOCAB_SIZE = 4096


def get_config() -> ml_collections.ConfigDict:
  """Return a run on all pairs, with English names."""
  config = emoji_run.get_config()
  emoji_run.set_examples(config, NUM_EXAMPLES, 256)
  data = config.data
  data.sources.main = records("english")
  data.tokenizer, data.tokenizer_path = "hf", f"{FOLDER}/tokenizer"
  data.vocab_size = VOCAB_SIZE
  config.evaluate.sets = ml_collections.ConfigDict(
    {x: _test_set(x) for x in emoji_styles.LANGUAGES}
  )
  config.loss.name = "softmax"
  config.loss.label_smoothing = 0.1
  config.model.scale_init = 1.0
  config.model.bias_init = 0.0
  config.optimizer.learning_rate = 2e-3
  return config


def records(split: str) -> ml_collections.ConfigDict:
  """Return the source of a split of prepare.py."""
  return sources.source(
    format="array_record", path=f"{FOLDER}/records", split=split
  )


def _test_set(language: str) -> dict[str, Any]:
  """Return retrieval of the 1,138 names in a language."""
  return kinds.retrieval(records(f"test_{language}").to_dict())
