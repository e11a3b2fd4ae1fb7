"""A pool of small pictures, and a run with random parameters to score it."""

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from tests import runs
from tests.inference import fresh_run

NUM_PAIRS = 23
# Not an image, no image, and no caption.
BROKEN, EMPTY, SILENT = 4, 9, 17
SHARDS = (list(range(12)), list(range(12, NUM_PAIRS)))


def write_run(folder):
  """Write a run that embeds; return its path."""
  fresh_run.write(folder, runs.make_config())
  return str(folder)


def columns():
  """Return the columns of the pool."""
  rng = np.random.default_rng(0)
  images = [_image(rng) for _ in range(NUM_PAIRS)]
  images[BROKEN], images[EMPTY] = b"GIF89a and no more", b""
  texts = [f"picture {number}" for number in range(NUM_PAIRS)]
  texts[SILENT] = ""
  return {
    "text": pa.array(texts),
    "image": pa.array(images, pa.binary()),
    "width": pa.array(range(NUM_PAIRS), pa.int32()),
  }


def _image(rng):
  file = io.BytesIO()
  pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()
