"""DFN's filtering of the pool of icons; `--task=curate`.

The filter network is this folder's config.py:filter, trained on the clean set:
a dual encoder of the size of those that are trained on what it keeps. DFN
(arXiv 2309.17425) keeps the best 15 % of CommonPool's 12.8e9 pairs; here it is a
quarter, so that the selection has about as many pairs as ALIGN's and MetaCLIP's.
"""

import ml_collections

from configs import curation


def get_config() -> ml_collections.ConfigDict:
  """Return the recipe."""
  config = curation.recipe(
    clip={
      "op": "embed",
      # The filter network's workdir.
      "model": "runs/icons/filter",
      "signal": "clip",
      # No paper's: what a processor does at once.
      "batch_size": 512,
      "as_columns": False,
    },
    top={
      "op": "top_fraction",
      "column": "clip",
      "fraction": 0.25,
      "of_all": False,
    },
  )
  config.pool.path = "data/icons/pool/*.tar"
  config.pool.caption = ("txt",)
  return config
