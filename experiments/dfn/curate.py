"""Selections of DFN's study; `--task=curate`.

  dfn            the best pairs by a filter network
  metaclip       MetaCLIP's matching and balancing
  metaclip_dfn   MetaCLIP's matching and balancing, then the best pairs of these
                 by a filter network

Steps are those of experiments/curation. prepare.py sets the filter network
(steps.embed.model), the share to keep (steps.top.fraction), the metadata and
MetaCLIP's t (steps.balance.t).
"""

import ml_collections

from configs.parts import variants
from experiments.curation import dfn, metaclip


def get_config(variant: str = "dfn") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  make = variants.pick(
    __file__,
    variant,
    {
      "dfn": dfn.get_config,
      "metaclip": metaclip.get_config,
      "metaclip_dfn": _both,
    },
  )
  config = make()
  config.report_shares = False
  return config


def _both() -> ml_collections.ConfigDict:
  config, scored = metaclip.get_config(), dfn.get_config()
  # Steps of both, so that the pairs that balancing keeps are scored.
  for name in scored.order:
    config.steps[name] = scored.steps[name]
  config.order = (*config.order, *scored.order)
  return config
