"""DFN's filtering of the pool of icons; `--task=curate`.

The recipe is configs/curate/dfn.py with another filter network and another cut.
The network is this folder's config.py:filter, trained on the clean set, of the
same size as those trained on its selection. DFN keeps the best 15 % of
CommonPool's 12.8e9 pairs; here a quarter is kept, so that the selection has
about as many pairs as ALIGN's and MetaCLIP's.
"""

import ml_collections

from configs.curate import dfn


def get_config() -> ml_collections.ConfigDict:
  """Return the recipe."""
  config = dfn.get_config("dfn_2b")
  # The filter network's workdir.
  config.steps.embed.model = "runs/icons/filter"
  config.steps.top.fraction = 0.25
  config.pool.path = "cache/icons/pool/*.tar"
  config.pool.caption = ("txt",)
  return config
