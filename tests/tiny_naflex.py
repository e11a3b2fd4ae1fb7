"""A run of two phases, of seconds: squares, then patches of drawn numbers.

Command: python main.py --config=tests/tiny_naflex.py --workdir=runs/naflex \
  --config.data.sources.main.path=FOLDER
of a folder that `write_pairs` has written.
Hardware: 1 CPU core.
"""

import pathlib

import ml_collections
import numpy as np
from PIL import Image

from configs.parts import phases, sources, towers
from tests import tiny

# Steps of each phase. Of the batches of the second one, numbers 2 to 5, those
# of both counts are drawn with seed 0.
STEPS = (2, 4)
COUNTS = (6, 12)
STRETCH = 2.0


def get_config() -> ml_collections.ConfigDict:
  """Return towers of one layer on squares of 16 pixels, and NaFlex's phase."""
  config = tiny.get_config()
  config.evaluate.sets = ml_collections.ConfigDict()
  config.data.sources.main = sources.source(format="folder")
  config.data.augmentation.resize = "squash"
  config.data.augmentation.patch_size = 4
  config.data.augmentation.max_num_patches = 16
  config.data.num_threads = 1
  image = towers.naflex(config.data)
  image.position_size = 4
  config.model.image = image
  for tower in (config.model.image, config.model.text):
    tower.update({"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32})
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup_steps = 1
  config.batch_size = 4
  config.checkpoint.every_steps = 2
  counts = {"resize": "naflex", "patch_counts": COUNTS}
  lengths = {"data": {"augmentation": counts}, "num_largest_updates": 2}
  phases.set_phases(
    config,
    phases.Phase("squares", STEPS[0]),
    phases.Phase("lengths", STEPS[1], lengths, stretch=STRETCH),
  )
  return config


def write_pairs(folder: pathlib.Path, num_pairs: int = 24) -> None:
  """Write images of one colour and of several shapes, with their names."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for number in range(num_pairs):
    colour = rng.integers(0, 256, 3, dtype=np.uint8)
    shape = int(rng.integers(8, 40)), 20
    image = Image.fromarray(np.tile(colour, (*shape, 1)))
    image.save(folder / f"{number:02}.png")
    name = "#" + colour.tobytes().hex()
    (folder / f"{number:02}.txt").write_text(name)
