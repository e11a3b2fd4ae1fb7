"""A run of three phases, of seconds: a data filter, then larger images.

Command: python main.py --config=tests/tiny_phases.py --workdir=runs/phases \
  --config.data.sources.main.path=FOLDER
of a folder that `write_pairs` has written.
Hardware: 1 CPU core.
"""

import pathlib

import ml_collections
import numpy as np
from PIL import Image

from configs.parts import phases, sources
from tests import tiny

NAMES = ("prompted", "plain", "large")
# Steps of each phase.
STEPS = (6, 6, 4)
_SIDE = 24
# Tokens of a text in training, before the last phase.
NUM_TOKENS = 4
_LONG = "a square of colour {} on a wall"


def get_config() -> ml_collections.ConfigDict:
  """Return tests/tiny.py's towers under UniCL, on colours.

  Texts of one or two words are wrapped in prompts, and left out from the second
  phase on; images of 16 pixels have 24 in the third, and texts of 4 tokens 8.
  """
  config = tiny.get_config()
  config.evaluate.sets = ml_collections.ConfigDict()
  config.data.sources.main = sources.source(
    format="folder",
    short_templates=("a photo of the {}.", "a cropped photo of {}."),
  )
  config.data.train_num_tokens = NUM_TOKENS
  for tower in (config.model.image, config.model.text):
    tower.depth = 1
  config.loss.name = "unicl"
  config.model.bias_init = 0.0
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup_steps = 2
  config.checkpoint.every_steps = 4
  config.batch_size = 8
  large = {
    "data": {"image_size": _SIDE, "train_num_tokens": 0},
    "batch_size": 4,
    "optimizer": {"learning_rate": 1e-4, "warmup_steps": 1},
  }
  changes = ({}, {"data": {"leave_out": ("augmented",)}}, large)
  phases.set_phases(
    config,
    *(
      phases.Phase(name, steps, change, own_schedule=change is large)
      for name, steps, change in zip(NAMES, STEPS, changes, strict=True)
    ),
  )
  return config


def write_pairs(folder: pathlib.Path, num_pairs: int = 40) -> None:
  """Write images of one colour, every other one with a short text."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for number in range(num_pairs):
    colour = rng.integers(0, 256, 3, dtype=np.uint8)
    image = Image.fromarray(np.tile(colour, (_SIDE, _SIDE, 1)))
    image.save(folder / f"{number:03}.png")
    name = "#" + colour.tobytes().hex()
    text = name if number % 2 else _LONG.format(name)
    (folder / f"{number:03}.txt").write_text(text)
