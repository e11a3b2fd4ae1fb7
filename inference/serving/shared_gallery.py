"""Gallery that threads search together: queries in batches, files in turn."""

import functools
import threading
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from inference.indexing import centring, exact
from inference.searching import galleries
from inference.serving import batcher

# Queries that are compared with the gallery at once.
_MOST_QUERIES = 32
# Thumbnails kept in memory, of some 3 kB each.
_KEPT = 4_096


class SharedGallery(galleries.Gallery):
  """Gallery for several threads: queries in batches, files one at a time."""

  def __init__(self, gallery: galleries.Gallery):
    self._gallery = gallery
    self._reading = threading.Lock()
    self._small = functools.lru_cache(_KEPT)(self._read_thumbnail)
    self._nearest = batcher.Batcher(
      self._search, name="search", max_size=_MOST_QUERIES
    )

  def __len__(self) -> int:
    return len(self._gallery)

  def nearest(self, query_QE: np.ndarray, num: int) -> exact.Found:
    found = [self._nearest.submit((query_E, num)) for query_E in query_QE]
    rows, scores = zip(*(one.result() for one in found), strict=True)
    return exact.Found(np.stack(rows), np.stack(scores))

  def centred(self) -> tuple[Self, centring.Centre]:
    gallery, centre = self._gallery.centred()
    return type(self)(gallery), centre

  def method(self, num: int) -> dict[str, Any]:
    return self._gallery.method(num)

  def embeddings(self, row_N: np.ndarray) -> np.ndarray:
    return self._gallery.embeddings(row_N)

  def entries(self, row_N: Sequence[int]) -> list[galleries.Entry]:
    with self._reading:
      return self._gallery.entries(row_N)

  def picture(self, row: int) -> np.ndarray | None:
    with self._reading:
      return self._gallery.picture(row)

  def thumbnail(self, row: int) -> bytes | None:
    return self._small(row)

  def _read_thumbnail(self, row: int) -> bytes | None:
    with self._reading:
      return self._gallery.thumbnail(row)

  def _search(
    self, items: list[tuple[np.ndarray, int]]
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows and scores of each query, as many as each asks for."""
    found = self._gallery.nearest(
      np.stack([query_E for query_E, _ in items]), max(num for _, num in items)
    )
    return [
      (row_K[:num], score_K[:num])
      for (_, num), row_K, score_K in zip(
        items, found.row_QK, found.score_QK, strict=True
      )
    ]
