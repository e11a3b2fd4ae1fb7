"""Records that are made when they are read, broken where a test wants it."""

import dataclasses
import functools
import io
import types
from collections.abc import Mapping

import numpy as np
from PIL import Image

from configs import base, sources
from input_pipeline import faults, pipeline
from input_pipeline.sources import record as record_lib
from training import config as config_lib


@dataclasses.dataclass
class Records:
  """Examples NAME0, NAME1, ..., with flat pictures; can be pickled.

  Attributes:
    name: begins keys and captions.
    num: length.
    broken: index -> kind of the fault that reading it is, or "image" for
      bytes that are no image, or "caption" for an empty one.
    touched: indices that were read, in this process.
  """

  name: str
  num: int
  broken: Mapping[int, str] = dataclasses.field(default_factory=dict)
  touched: list[int] = dataclasses.field(default_factory=list)

  def __len__(self) -> int:
    return self.num

  def __getitem__(self, index: int) -> record_lib.Record:
    assert 0 <= index < self.num
    self.touched.append(index)
    kind = self.broken.get(index, "")
    if kind in faults.KINDS:
      raise faults.ExampleError(kind, f"fault of {index}")
    return record_lib.Record(
      f"{self.name}{index}",
      b"no image" if kind == "image" else picture(),
      {"en": (" " if kind == "caption" else f"{self.name} {index}",)},
    )

  def fingerprint(self) -> str:
    return f"{self.name}{self.num}"

  def uids(self) -> np.ndarray:
    return np.array(
      [record_lib.uid(f"{self.name}{i}") for i in range(self.num)],
      record_lib.UID,
    )


@functools.cache
def picture() -> bytes:
  """Return a PNG of 8 x 8 pixels whose crops differ."""
  levels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
  buffer = io.BytesIO()
  Image.fromarray(levels).save(buffer, "PNG")
  return buffer.getvalue()


def format_of(opened: Mapping[str, Records]) -> types.SimpleNamespace:
  """Return a format whose sources are these, by their name in the config."""
  return types.SimpleNamespace(
    LANGUAGES=None,
    splits=lambda source, place: (),
    open_split=lambda source, split, place: opened[place.name],
  )


def config(cache_dir, names=("main",), fields=None, **changes) -> pipeline.Data:
  """Return a `data` section over sources of the format "fake"."""
  values = base.get_config()
  del values.data.sources.main
  for name in names:
    values.data.sources[name] = sources.source(
      format="fake", **(fields or {}).get(name, {})
    )
  values.data.cache_dir = str(cache_dir)
  values.data.image_size = 8
  values.data.tokenizer = "bytes"
  values.data.augmentation.crop_scale = (0.5, 1.0)
  for name, value in changes.items():
    values.data[name] = value
  return config_lib.from_mapping(values.to_dict()).data


def captions(config: pipeline.Data, batches) -> list[str]:
  """Return the captions of batches, decoded."""
  decode = pipeline.make_tokenizer(config).decode
  return [decode(ids) for batch in batches for ids in batch["tokens"]]
