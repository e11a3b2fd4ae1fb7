"""ALIGN's filters on the pool of icons; `--task=curate`.

The recipe is configs/curate/align.py, changed where icons are not photos of the
web: pictures have 32 pixels and not several hundred, names of one and two words
are whole captions, and the pool has 105,000 distinct words and word pairs
instead of billions.
"""

import ml_collections

from configs.curate import fields
from configs.curate import steps as steps_lib


def get_config() -> ml_collections.ConfigDict:
  """Return the recipe."""
  # Number of those that occur at least three times, of the 105,000.
  steps = steps_lib.align(image="url", num_terms=20_000)
  # Half of the longer side of most icons; 200 in the paper.
  steps["image_size"]["min_side"] = 16
  # 3 in the paper; the upper limit, 20, is the paper's.
  steps["word_count"]["min_words"] = 1
  config = fields.recipe(**steps)
  config.pool.path = "cache/icons/pool/*.tar"
  config.pool.caption = ("txt",)
  return config
