"""Galleries that are searched: a run's data, files of pictures, an index."""

import abc
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from absl import logging

from inference import pictures, python_model
from inference.embeddings import jobs
from inference.indexing import (
  approximate,
  centring,
  exact,
  index_folder,
  thumbnails,
)
from input_pipeline import evaluation_split, faults
from input_pipeline.images import image_ops

# Examples left out that a message names.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Entry:
  """Description of a picture.

  Attributes:
    path: file of the picture, or file and row or member that hold it.
    name: caption, or the file's name.
    key: name of the example in its source; "" for a file.
    split: split of a run's data; "" for a file.
  """

  path: str
  name: str
  key: str = ""
  split: str = ""


class Gallery(abc.ABC):
  """Pictures with embeddings."""

  @abc.abstractmethod
  def __len__(self) -> int:
    """Return the number of pictures that may be found."""

  @abc.abstractmethod
  def nearest(self, query_QE: np.ndarray, num: int) -> exact.Found:
    """Return the nearest pictures of each query."""

  @abc.abstractmethod
  def centred(self) -> tuple[Self, centring.Centre]:
    """Return a gallery that compares pictures less their mean, and the mean."""

  def method(self, num: int) -> dict[str, Any]:
    """Return how `num` results are found, as values for JSON."""
    del num
    return {"method": "exact", "recall": None}

  @abc.abstractmethod
  def embeddings(self, row_N: np.ndarray) -> np.ndarray:
    """Return embeddings of pictures: [N, E]."""

  @abc.abstractmethod
  def entries(self, row_N: Sequence[int]) -> list[Entry]:
    """Return what is known of pictures."""

  @abc.abstractmethod
  def picture(self, row: int) -> np.ndarray | None:
    """Return pixels uint8 [H, W, 3]; None if they are gone."""

  @abc.abstractmethod
  def thumbnail(self, row: int) -> bytes | None:
    """Return a small picture, as thumbnails.MEDIA_TYPE; None without one."""


@dataclasses.dataclass(frozen=True)
class Listed(Gallery):
  """Gallery whose embeddings are in memory.

  Attributes:
    z_NE: float32 embeddings.
    listed: what is known of each picture.
    draw: position -> pixels.
    centre: mean that pictures are compared less; None for none.
  """

  z_NE: np.ndarray
  listed: Sequence[Entry]
  draw: Callable[[int], np.ndarray | None]
  centre: centring.Centre | None = None

  def __len__(self) -> int:
    return len(self.listed)

  def nearest(self, query_QE: np.ndarray, num: int) -> exact.Found:
    return exact.search([self.z_NE], query_QE, num, centre=self.centre)

  def centred(self) -> tuple[Self, centring.Centre]:
    centre = centring.of_shards([self.z_NE], np.zeros(0, np.int64))
    return dataclasses.replace(self, centre=centre), centre

  def embeddings(self, row_N: np.ndarray) -> np.ndarray:
    return self.z_NE[row_N]

  def entries(self, row_N: Sequence[int]) -> list[Entry]:
    return [self.listed[row] for row in row_N]

  def picture(self, row: int) -> np.ndarray | None:
    return self.draw(row)

  def thumbnail(self, row: int) -> bytes | None:
    image_YXC = self.draw(row)
    return None if image_YXC is None else thumbnails.of_pixels(image_YXC)


@dataclasses.dataclass(frozen=True)
class Indexed(Gallery):
  """Gallery of an index.

  Attributes:
    index: index that is searched.
    by: approximate index of it to search by; None searches exactly.
    centre: mean that pictures are compared less; None for none.
  """

  index: index_folder.Index
  by: approximate.Approximate | None = None
  centre: centring.Centre | None = None

  def __len__(self) -> int:
    return len(self.index)

  def nearest(self, query_QE: np.ndarray, num: int) -> exact.Found:
    if self.by is not None:
      return self.by.search(query_QE, num)
    return self.index.search(query_QE, num, centre=self.centre)

  def centred(self) -> tuple[Self, centring.Centre]:
    # The approximate index compares rows as they are.
    centre = centring.of_shards(self.index.shards, self.index.removed)
    return dataclasses.replace(self, centre=centre, by=None), centre

  def method(self, num: int) -> dict[str, Any]:
    if self.by is None:
      return super().method(num)
    return self.by.method(num)

  def embeddings(self, row_N: np.ndarray) -> np.ndarray:
    return self.index.embeddings(row_N)

  def entries(self, row_N: Sequence[int]) -> list[Entry]:
    found = []
    for values in self.index.entries(row_N):
      path = str(values["image_path"])
      caption = values.get("caption") or pathlib.PurePath(path).name
      found.append(Entry(path, str(caption)))
    return found

  def picture(self, row: int) -> np.ndarray | None:
    return read_picture(self.entries([row])[0].path)

  def thumbnail(self, row: int) -> bytes | None:
    """Return the one that the index stores; no other file is read."""
    return self.index.thumbnail(row)


def of_files(model: python_model.Model, found: pictures.Pictures) -> Listed:
  """Embed pictures; those that cannot be used are left out and named.

  Raises:
    ValueError: none is a picture.
  """
  z_NE, names, left_out = jobs.in_memory(model.loaded, found)
  broken = {line["index"] for line in left_out}
  kept = [n for n in range(len(found)) if n not in broken]
  if left_out:
    lines = [f"{x['path']}: {x['kind']}: {x['message']}" for x in left_out]
    _warn(lines, len(found), "--images")
  listed = [Entry(name, pathlib.PurePath(name).name) for name in names]

  def draw(row: int) -> np.ndarray | None:
    try:
      return image_ops.decode(found[kept[row]].data)
    except faults.ExampleError:
      return None

  return Listed(z_NE, listed, draw)


def of_splits(
  model: python_model.Model,
  splits: Mapping[str, evaluation_split.Split],
  *,
  batch_size: int,
  language: str,
) -> Listed:
  """Embed a run's data; examples that cannot be used are left out and named.

  Args:
    model: model of the run.
    splits: opened examples by name.
    batch_size: examples embedded at once.
    language: language of the names, where an example has one in it.
  """
  embedder = model.loaded.make_embedder(batch_size)
  embedded, entries, places = [], [], []
  for name, split in splits.items():
    broken: list[str] = []

    def on_fault(
      row: int, error: faults.ExampleError, broken: list[str] = broken
    ) -> None:
      broken.append(f"example {row}: {error.kind}: {error}")

    part = embedder.split(model.loaded.params, split, on_fault)
    if broken:
      _warn(broken, len(split), name)
    embedded.append(part.zimg_NE)
    for row, key, texts in zip(part.rows, part.keys, part.texts, strict=True):
      # A source of captions in unknown languages has "und" alone.
      named = texts.get(language) or next(iter(texts.values()), ("",))
      path = evaluation_split.path_of(split, row)
      entries.append(Entry(path, named[0], key, name))
      places.append((split, row))

  def draw(row: int) -> np.ndarray:
    split, at = places[row]
    return split.image(at)

  return Listed(np.concatenate(embedded), entries, draw)


@functools.lru_cache(maxsize=64)
def read_picture(path: str | os.PathLike[str]) -> np.ndarray | None:
  """Return the pixels of a file; None where it is gone, or no picture."""
  try:
    return image_ops.decode(pathlib.Path(path).read_bytes())
  except (OSError, faults.ExampleError):
    return None


def _warn(broken: Sequence[str], total: int, name: str) -> None:
  shown = "; ".join(broken[:_NUM_NAMED])
  logging.warning(
    "Left out of the search, %d of %d of %s: %s",
    *(len(broken), total, name, shown),
  )
