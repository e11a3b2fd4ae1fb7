"""A pool of small pictures, and a model with random parameters to score it."""

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from input_pipeline.tokenizers import bytes as tokenizer_bytes
from input_pipeline.tokenizers import hf_files
from models.pretrained import families
from tests import runs
from tests.models.pretrained.families import mirror

NUM_PAIRS = 23
# Not an image, and none.
BROKEN, EMPTY = 4, 9
SHARDS = (list(range(12)), list(range(12, NUM_PAIRS)))


def write_model(folder, patch):
  """Write a published model that embeds; return its path."""
  patch.setattr(families, "FAMILIES", (mirror,))
  patch.setattr(families, "IMAGE_PROTOCOLS", {"mirror": "siglip"})
  config = runs.make_config().model
  place = mirror.write(folder / "model", config, mirror.random_params(config))
  made = tokenizer_bytes.make_tokenizer(
    list,
    folder,
    languages=("en",),
    vocab_size=512,
    num_tokens=config.text.num_tokens,
  )
  hf_files.write(made, place)
  return str(place)


def columns():
  """Return the columns of the pool."""
  rng = np.random.default_rng(0)
  images = [_image(rng) for _ in range(NUM_PAIRS)]
  images[BROKEN], images[EMPTY] = b"GIF89a and no more", b""
  texts = [f"picture {number}" for number in range(NUM_PAIRS)]
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
