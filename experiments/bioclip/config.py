"""BioCLIP's miniature: icons of species (README.md)."""

import ml_collections

from configs import bioclip, quickstart


def get_config() -> ml_collections.ConfigDict:
  """Return the emoji model, fine-tuned on names of species."""
  config = quickstart.fine_tuned()
  bioclip.set_data(config, "tree_of_life", "cache/bioclip")
  return config
