"""A run of seconds that learns which of three colours a picture has.

Command: python main.py --config=tests/tiny_classes.py:FOLDER --workdir=W
Hardware: 1 CPU core. Expected: top-1 above 0.9 of FOLDER's pictures.
"""

import json
import pathlib

import ml_collections
import numpy as np
from PIL import Image

from configs.parts import sources
from evaluators.sets import kinds
from tests import tiny

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 220)}
PROMPT = "a {c} picture"


def get_config(folder: str) -> ml_collections.ConfigDict:
  """Return the run of `write`'s pictures; init_from is not set."""
  config = tiny.get_config()
  config.total_steps = 20
  config.loss.name = "classes"
  config.model.head.classes = (*COLOURS,)
  config.model.head.prompts = (PROMPT,)
  config.optimizer.freeze = ((r"txt/.*|log_scale|bias", True), (r".*", False))
  table = {"format": "table", "path": f"{folder}/rows.jsonl"}
  config.data.sources.main = sources.source(**table, caption=("colour",))
  labelled = sources.source(**table).to_dict()
  config.evaluate.sets = {
    "head": kinds.classification(labelled, label="colour", head=True),
    "zero": kinds.classification(labelled, label="colour", prompts=(PROMPT,)),
  }
  return config


def write(folder: pathlib.Path) -> None:
  """Write 30 pictures and their table."""
  rng = np.random.default_rng(0)
  lines = []
  for number in range(30):
    name, colour = [*COLOURS.items()][number % 3]
    pixels = rng.integers(-20, 20, (16, 16, 3)) + np.array(colour)
    path = folder / f"{number}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    lines.append(json.dumps({"image": path.name, "colour": name}))
  (folder / "rows.jsonl").write_text("\n".join(lines))
