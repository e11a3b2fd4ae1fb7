"""StreetCLIP's miniature: maps in place of photos (README.md)."""

import ml_collections

from configs import quickstart, streetclip
from configs.parts import domain

_FOLDER = "cache/streetclip"


def get_config() -> ml_collections.ConfigDict:
  """Return a small model on maps that prepare.py draws."""
  config = quickstart.get_config()
  config.total_steps, config.data.num_tokens = 600, 40
  config.text_lengths = (24, 32)
  config.checkpoint.every_steps = config.evaluate.every_steps = 300
  config.evaluate.sets = {}
  maps = {
    name: domain.source("places.photos", path=f"{_FOLDER}/{name}")
    for name in ("train", "test", "unseen")
  }
  unseen = streetclip.labelled("country") | {
    "source": maps["unseen"],
    "unseen": f"{_FOLDER}/unseen.txt",
  }
  domain.set_layouts(
    config,
    maps["train"] | streetclip.captions("plain"),
    test=streetclip.places(maps["test"], f"{_FOLDER}/cities.csv"),
    unseen=unseen,
  )
  return config
