"""FashionCLIP's miniature: products composed of icons (README.md)."""

import ml_collections

from configs import fashionclip, quickstart
from evaluators.sets import kinds

_FOLDER = "cache/fashion"


def get_config() -> ml_collections.ConfigDict:
  """Return the emoji model, fine-tuned on products."""
  config = quickstart.fine_tuned()
  labelled = {"pairs": ("catalog@test", "pair")}
  fashionclip.set_data(config, labelled, _FOLDER)
  config.evaluate.sets.swaps = kinds.selection(f"{_FOLDER}/swaps.jsonl")
  return config
