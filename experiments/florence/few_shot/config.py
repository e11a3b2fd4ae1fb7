"""Sets of CD-FSL's episodes in miniature (README.md).

For --task=evaluate --measures=episodes: handwriting and micrographs, of which
icons and their names, the encoder's training, have none.
"""

import ml_collections

from configs.parts import sources
from evaluators.sets import kinds
from experiments.florence.unicl import config as unicl_config

# Name of a set -> its table, of prepare.py and of experiments/plip/prepare.py.
_TABLES = {
  "digits": "cache/episodes/digits.jsonl",
  "micrographs": "cache/plip/train.jsonl",
}


def get_config() -> ml_collections.ConfigDict:
  """Return UniCL's miniature with these sets."""
  config = unicl_config.get_config("few")
  config.evaluate.sets = ml_collections.ConfigDict(
    {
      name: kinds.classification(
        sources.source(format="table", path=path).to_dict(),
        label="label",
        prompts=("{c}.",),
      )
      for name, path in _TABLES.items()
    }
  )
  return config
