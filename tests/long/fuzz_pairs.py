"""Pairs whose image and caption both encode the pair's number.

A caption that is read with another image is thus detected, whatever happened to
the file. The encodings are redundant, so that a damaged image or caption is
recognised as such and yields no number.
"""

import functools
import io
import re

import numpy as np
from PIL import Image

from input_pipeline import faults
from input_pipeline.images import image_ops
from input_pipeline.sources import record as record_lib

# Colours far apart, so that no damaged pixel is taken for another pair's.
_COLOURS = np.array(
  [
    *((255, 0, 0), (0, 255, 0), (0, 0, 255)),
    *((255, 255, 0), (0, 255, 255), (255, 0, 255)),
  ]
)
NUM_PAIRS = len(_COLOURS)
_COPIES = 4


def key(number: int) -> str:
  """Return the name of a pair."""
  return str(number) * 6


def caption(number: int) -> str:
  """Return the caption of a pair."""
  return " ".join(["pair", *[key(number)] * _COPIES])


@functools.cache
def image(number: int) -> bytes:
  """Return the image of a pair."""
  buffer = io.BytesIO()
  Image.new("RGB", (12, 9), tuple(_COLOURS[number])).save(buffer, "PNG")
  return buffer.getvalue()


def outcome(record: record_lib.Record) -> str:
  """Return "pair", "damaged" (a number is missing) or "wrong pair"."""
  numbers = {
    number
    for texts in record.texts.values()
    for text in texts
    if (number := _number_of_caption(text)) is not None
  }
  shown = _number_of_image(record.image)
  if shown is None or not numbers:
    return "damaged"
  return "pair" if numbers == {shown} else "wrong pair"


def _number_of_caption(text: str) -> int | None:
  match = re.fullmatch(rf"pair( (\d)\2{{5}})\1{{{_COPIES - 1}}}", text)
  number = int(match[2]) if match else NUM_PAIRS
  return number if number < NUM_PAIRS else None


def _number_of_image(data: bytes) -> int | None:
  try:
    pixels = image_ops.decode(data).reshape(-1, 3)
  except faults.ExampleError:
    return None
  if (pixels != pixels[0]).any():
    return None
  same = (pixels[0] == _COLOURS).all(1).nonzero()[0]
  return int(same[0]) if len(same) else None
