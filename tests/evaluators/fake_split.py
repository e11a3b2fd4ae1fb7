"""Splits whose examples are arrays in memory, for tests of evaluations."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline import evaluation_split


@dataclasses.dataclass
class Split:
  """Examples as `evaluation_split.Split` returns them.

  Attributes:
    keys: key of each example.
    names: language -> text of each example, "" for none, or its texts.
    images: uint8 [N, Y, X, 3].
    passes: number of times that the examples were read.
  """

  keys: Sequence[str]
  names: Mapping[str, Sequence[str]]
  images: np.ndarray
  passes: int = 0

  def __len__(self):
    return len(self.keys)

  def texts(self):
    for row, key in enumerate(self.keys):
      texts = {language: names[row] for language, names in self.names.items()}
      yield (
        key,
        {
          language: (text,) if isinstance(text, str) else tuple(text)
          for language, text in texts.items()
          if text
        },
      )

  def batches(self, batch_size, on_fault=None):
    self.passes += 1
    every = list(self.texts())
    for start in range(0, len(self), batch_size):
      keys, texts = zip(*every[start : start + batch_size], strict=True)
      images = self.images[start : start + batch_size]
      rows = tuple(range(start, start + len(keys)))
      yield evaluation_split.Batch(rows, keys, texts, images)

  def image(self, row):
    return self.images[row]
