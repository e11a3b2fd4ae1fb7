"""Records that are made when they are read, broken where a test wants it.

Imports no more than a worker process may.
"""

import dataclasses
import functools
import io
import sys
from collections.abc import Mapping

import numpy as np
from PIL import Image

from input_pipeline import faults
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import uids as uids_lib


@dataclasses.dataclass
class Records:
  """Examples NAME0, NAME1, ..., with flat pictures; can be pickled.

  Attributes:
    name: begins keys and captions.
    num: length.
    broken: index -> kind of the fault that reading it is, or "image" for
      bytes that are no image, or "caption" for an empty one, or "defect".
    touched: indices that were read, in this process.
    origin: that of all examples.
  """

  name: str
  num: int
  broken: Mapping[int, str] = dataclasses.field(default_factory=dict)
  touched: list[int] = dataclasses.field(default_factory=list)
  origin: str = ""

  def __len__(self) -> int:
    return self.num

  def __getitem__(self, index: int) -> record_lib.Record:
    assert 0 <= index < self.num
    self.touched.append(index)
    kind = self.broken.get(index, "")
    if kind in faults.KINDS:
      raise faults.ExampleError(kind, f"fault of {index}")
    if kind == "defect":
      heavy = [name for name in ("jax", "grain") if name in sys.modules]
      raise TypeError(f"a process that imported {heavy}")
    return record_lib.Record(
      f"{self.name}{index}",
      b"no image" if kind == "image" else picture(),
      {"en": (" " if kind == "caption" else f"{self.name} {index}",)},
      self.origin,
    )

  def fingerprint(self) -> str:
    return f"{self.name}{self.num}"

  def uids(self) -> np.ndarray:
    return np.array(
      [uids_lib.uid(f"{self.name}{i}") for i in range(self.num)],
      uids_lib.UID,
    )


@functools.cache
def picture() -> bytes:
  """Return a PNG of 8 x 8 pixels whose crops differ."""
  levels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
  buffer = io.BytesIO()
  Image.fromarray(levels).save(buffer, "PNG")
  return buffer.getvalue()
