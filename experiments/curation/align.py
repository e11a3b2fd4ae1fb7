"""ALIGN's filters on the pool of icons; `--task=curate`.

configs/curate/align.py with these changes, each because icons are not photos of
the web: pictures are 32 pixels and not several hundred, names of one and two
words are whole captions here, and the pool has 105,000 different words and word
pairs in place of billions.
"""

import ml_collections

from configs.curate import fields, rules


def get_config() -> ml_collections.ConfigDict:
  """Return the recipe."""
  # Of the 105,000, those that occur three times and more.
  steps = rules.align(image="url", num_terms=20_000)
  # Half of the longer side that most have; 200 in the paper.
  steps["image_size"]["min_side"] = 16
  # 3 in the paper; the upper limit, 20, is the paper's.
  steps["word_count"]["min_words"] = 1
  config = fields.recipe(**steps)
  config.pool.path = "cache/icons/pool/*.tar"
  config.pool.caption = ("txt",)
  return config
