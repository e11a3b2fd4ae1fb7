"""MetaCLIP's matching and balancing on the pool of icons; `--task=curate`.

The recipe is configs/curate/metaclip.py:tail, with t for pools of any size, but
without identification of languages: names of two words are too short for it,
and all are English. The metadata come from packages:
  python main.py --task=metadata --out=cache/icons/metadata \
    --config=configs/curate/metadata.py:packages
"""

import ml_collections

from configs.curate import metaclip


def get_config() -> ml_collections.ConfigDict:
  """Return the recipe."""
  config = metaclip.get_config("tail")
  config.order = tuple(name for name in config.order if name != "language")
  for name in config.order:
    config.steps[name].metadata = "cache/icons/metadata/en.txt"
  config.pool.path = "cache/icons/pool/*.tar"
  config.pool.caption = ("txt",)
  return config
