"""ALIGN's filters (arXiv 2102.05918, section 3)."""

import ml_collections

from configs import curation


def get_config() -> ml_collections.ConfigDict:
  """Return the recipe."""
  return curation.recipe(
    image_size={"op": "image_size", "min_side": 200, "strict": True},
  )
