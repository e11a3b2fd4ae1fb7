"""A table of drawings with boxes, and sections of configs that read it."""

import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
from PIL import Image

from configs import base
from configs.parts import sources
from input_pipeline import pipeline
from training import config as config_lib

# Pictures with one red rectangle each; the last of them has no region.
NUM_EXAMPLES = 12
HEIGHT, WIDTH = 24, 32


def box(index: int) -> list[int]:
  """Return the box of a picture's rectangle."""
  left, top = 2 * (index % 6), index % 5
  return [left, top, left + 10, top + 12]


def write(folder: pathlib.Path, **changes: Any) -> pathlib.Path:
  """Write the table, and return its path.

  Args:
    folder: folder of table and pictures.
    **changes: columns with another value in each row.
  """
  folder.mkdir(parents=True, exist_ok=True)
  lines = []
  for index in range(NUM_EXAMPLES):
    pixels = np.full((HEIGHT, WIDTH, 3), 20 * index, np.uint8)
    left, top, right, bottom = box(index)
    pixels[top:bottom, left:right] = (255, 0, 0)
    Image.fromarray(pixels).save(folder / f"{index}.png")
    is_last = index == NUM_EXAMPLES - 1
    row = {
      "image": f"{index}.png",
      "caption": f"grey {index}",
      "boxes": [] if is_last else [box(index), [0, 0, WIDTH, HEIGHT]],
      "names": [] if is_last else [f"red {index}", "all of it"],
    }
    lines.append(json.dumps(row | changes))
  path = folder / "rows.jsonl"
  path.write_text("\n".join(lines) + "\n")
  return path


def values(path: pathlib.Path, **regions: Any) -> ml_collections.ConfigDict:
  """Return a run's config over the table.

  Args:
    path: table.
    **regions: fields of data.regions; without any, it is off.
  """
  config = base.get_config()
  data = config.data
  fields = {"region_fields": (("boxes", "boxes"), ("texts", "names"))}
  data.sources.main = sources.source(
    format="table",
    path=str(path),
    caption=("caption",),
    **(fields if regions else {}),
  )
  data.cache_dir = str(path.parent / "cache")
  data.image_size = 16
  data.num_tokens = 16
  data.tokenizer = "bytes"
  data.vocab_size = 300
  data.num_workers = 0
  data.num_threads = 0
  data.augmentation.resize = "area"
  data.augmentation.crop_scale = (0.3, 1.0)
  data.augmentation.flip_probability = 0.5
  data.regions.update(regions)
  config.batch_size = 8
  return config


def section(path: pathlib.Path, **regions: Any) -> pipeline.DataConfig:
  """Return the checked section `data` of `values`."""
  config = values(path, **regions)
  return config_lib.from_mapping(config.to_dict()).data
