"""Splits whose examples are arrays in memory, for tests of evaluations."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline import evaluation_split, faults
from input_pipeline.selecting import sample as sample_lib


@dataclasses.dataclass
class Split:
  """Examples as `evaluation_split.Split` returns them.

  Attributes:
    keys: key of each example.
    names: language -> text of each example, "" for none, or its texts.
    images: uint8 [N, Y, X, 3].
    passes: number of times that the examples were read.
    image_ids: names of the images of a held-out split.
    unusable: rows that are left out.
  """

  keys: Sequence[str]
  names: Mapping[str, Sequence[str]]
  images: np.ndarray
  passes: int = 0
  image_ids: np.ndarray | None = None
  unusable: Sequence[int] = ()
  field: str = "fake"
  leaves_out: bool = True
  records: object = None

  def __len__(self):
    return len(self.keys)

  def fingerprint(self):
    return "fake"

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

  def batches(self, batch_size, *, rows=None, places=None):
    self.passes += 1
    every = list(self.texts())
    rows = range(len(self)) if rows is None else rows
    for start in range(0, len(rows), batch_size):
      part = rows[start : start + batch_size]
      own = [part[x] for x in places or range(batch_size) if x < len(part)]
      broken = {
        row: faults.ExampleError("image_broken", "unusable")
        for row in own
        if row in self.unusable
      }
      own = [row for row in own if row not in broken]
      keys, texts = zip(*(every[row] for row in own), strict=True)
      yield evaluation_split.Batch(
        tuple(own), keys, texts, self.images[own], broken
      )

  def image(self, row):
    return self.images[row]

  def sample(self, num):
    """Take every second example first, as a hash would take any."""
    if num >= len(self):
      return self
    order = [*range(0, len(self), 2), *range(1, len(self), 2)]
    rows = np.sort(order[:num])
    return Split(
      keys=[self.keys[i] for i in rows],
      names={k: [v[i] for i in rows] for k, v in self.names.items()},
      images=self.images[rows],
      image_ids=None if self.image_ids is None else self.image_ids[rows],
      records=sample_lib.Sample(None, rows),
    )
