"""Kinds of approximate indices: inverted lists of faiss, a graph of usearch.

Both hold the rows as float16, by their position, in one file that is mapped
into memory. `effort` is what their speed and recall depend on.

Shape letters: N rows, Q queries, E the embedding, K candidates of a query.
"""

import dataclasses
import importlib
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from inference.indexing import exact
from runtime import progress
from runtime.storage import whole_files

# Rows that are added at once, in float32: 67 MB at 512 numbers a row.
_BLOCK = 32_768
# Rows for each list that the lists' centres are trained on, at most; faiss's
# own limit (256) takes four times as long. Fewer than 39 make faiss warn.
_TRAINED, _FEWEST_TRAINED = 64, 39
# Lists are this many times the square root of the rows, half of the least that
# faiss's guidelines recommend: a single query is then compared with as many
# centres as rows.
_LISTS = 2
# Neighbours of a node and candidates while it is added: usearch's defaults.
_M, _EF_CONSTRUCTION = 16, 128
# Neighbours among which a row must find itself, and passes that link lost rows.
_OWN, _PASSES = 10, 3
_SEED = 0
# Bytes written at once.
_WRITTEN = 1 << 20


class Kind(Protocol):
  """Approximate index, in memory or mapped.

  Attributes:
    EFFORT: name of the parameter.
    MODULE: module of the library.
    PACKAGE: package of it, as pip names it.
    FIRST: least effort.
  """

  EFFORT: ClassVar[str]
  MODULE: ClassVar[str]
  PACKAGE: ClassVar[str]
  FIRST: ClassVar[int]

  @classmethod
  def build(cls, shards: Sequence[np.ndarray]) -> Self:
    """Make the index of all rows; progress is shown."""
    ...

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    """Map the index of a file; RuntimeError if it is none."""
    ...

  def write(self, path: pathlib.Path) -> None:
    """Write the file, whole or not at all."""
    ...

  def __len__(self) -> int:
    """Return the number of rows."""
    ...

  @property
  def most(self) -> int:
    """Most effort that there is."""
    ...

  def parameters(self) -> dict[str, Any]:
    """Return what the index was made with."""
    ...

  def candidates(
    self, query_QE: np.ndarray, num: int, effort: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return rows [Q, K], -1 where there are fewer, and scores, best first."""
    ...


@dataclasses.dataclass(frozen=True)
class Ivf:
  """Inverted lists: rows by the nearest of some centres (faiss).

  A search reads the lists of the centres nearest to the query: `nprobe` of
  `nlist`.
  """

  EFFORT: ClassVar[str] = "nprobe"
  MODULE: ClassVar[str] = "faiss"
  PACKAGE: ClassVar[str] = "faiss-cpu"
  FIRST: ClassVar[int] = 1
  index: Any

  @classmethod
  def build(cls, shards: Sequence[np.ndarray]) -> Self:
    faiss = library(cls)
    num, size = sum(map(len, shards)), shards[0].shape[1]
    lists = min(_LISTS * math.isqrt(num), num // _FEWEST_TRAINED)
    lists = max(lists, 1)
    centres = faiss.IndexFlatIP(size)
    index = faiss.IndexIVFScalarQuantizer(
      *(centres, size, lists, faiss.ScalarQuantizer.QT_fp16),
      *(faiss.METRIC_INNER_PRODUCT, False),  # rows, not residuals
    )
    index.cp.spherical, index.cp.seed = True, _SEED
    index.cp.max_points_per_centroid = _TRAINED
    rng = np.random.default_rng(_SEED)
    chosen = rng.choice(num, min(num, _TRAINED * lists), replace=False)
    index.train(exact.rows_of(shards, np.sort(chosen)).astype(np.float32))
    with progress.Progress("Adding rows to inverted lists", num) as bar:
      for _, block_BE in _blocks(shards):
        index.add(block_BE)
        bar.advance(len(block_BE))
    return cls(index)

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    faiss = library(cls)
    # The lists stay on the disk, and pages of them in its cache.
    how = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    index = faiss.read_index(os.fspath(path), how)
    # Threads that each search would start to read lists ahead: 10 ms.
    faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
    return cls(index)

  def write(self, path: pathlib.Path) -> None:
    faiss = library(type(self))
    with whole_files.replacing(path) as file:
      # faiss's own files miss that a disk is full when they are closed.
      writer = faiss.PyCallbackIOWriter(file.write, _WRITTEN)
      faiss.write_index(self.index, writer)

  def __len__(self) -> int:
    return self.index.ntotal

  @property
  def most(self) -> int:
    return self.index.nlist

  def parameters(self) -> dict[str, Any]:
    return {"nlist": self.index.nlist, "dtype": "float16", "seed": _SEED}

  def candidates(
    self, query_QE: np.ndarray, num: int, effort: int
  ) -> tuple[np.ndarray, np.ndarray]:
    faiss = library(type(self))
    score_QK, row_QK = self.index.search(
      query_QE.astype(np.float32),
      num,
      params=faiss.SearchParametersIVF(nprobe=effort),
    )
    return row_QK, score_QK


@dataclasses.dataclass(frozen=True)
class Hnsw:
  """Graph of near neighbours, in layers (usearch).

  A search walks the graph with the `ef` best rows so far.
  """

  EFFORT: ClassVar[str] = "ef"
  MODULE: ClassVar[str] = "usearch.index"
  PACKAGE: ClassVar[str] = "usearch"
  FIRST: ClassVar[int] = 16
  index: Any

  @classmethod
  def build(cls, shards: Sequence[np.ndarray]) -> Self:
    usearch = library(cls)
    index = usearch.Index(
      ndim=shards[0].shape[1],
      metric="ip",
      dtype="f16",
      connectivity=_M,
      expansion_add=_EF_CONSTRUCTION,
    )
    num = sum(map(len, shards))
    with progress.Progress("Adding rows to a graph", num) as bar:
      for first, block_BE in _blocks(shards, _BLOCK // 8):
        keys = np.arange(first, first + len(block_BE), dtype=np.uint64)
        index.add(keys, block_BE, threads=len(os.sched_getaffinity(0)))
        bar.advance(len(block_BE))
    made = cls(index)
    for _ in range(_PASSES):
      if not made.link_lost_rows(shards):
        break
    return made

  def link_lost_rows(self, shards: Sequence[np.ndarray]) -> int:
    """Add the rows again that no walk reaches; return their number.

    Rows that threads add at the same time do not see one another: with 8
    threads, 0.3 to 3 % of 1,200 rows had no link to them, and no effort found
    them. One thread adds them again.
    """
    num_lost = 0
    with progress.Progress("Looking for rows in the graph", len(self)) as bar:
      for first, block_BE in _blocks(shards, _BLOCK // 8):
        key_B = np.arange(first, first + len(block_BE))
        found_BK, _ = self.candidates(block_BE, _OWN, _EF_CONSTRUCTION)
        lost = np.flatnonzero((found_BK != key_B[:, None]).all(axis=1))
        if len(lost):
          keys = key_B[lost].astype(np.uint64)
          self.index.remove(keys)
          self.index.add(keys, block_BE[lost], threads=1)
        num_lost += len(lost)
        bar.advance(len(block_BE))
    return num_lost

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    usearch = library(cls)
    index = usearch.Index.restore(os.fspath(path), view=True)
    if index is None:
      raise RuntimeError("it is no index of usearch")
    return cls(index)

  def write(self, path: pathlib.Path) -> None:
    with whole_files.new_file(path) as temporary:
      self.index.save(os.fspath(temporary))
      with open(temporary, "rb") as file:
        os.fsync(file.fileno())

  def __len__(self) -> int:
    return len(self.index)

  @property
  def most(self) -> int:
    return min(len(self), 4_096)

  def parameters(self) -> dict[str, Any]:
    return {"m": _M, "ef_construction": _EF_CONSTRUCTION, "dtype": "float16"}

  def candidates(
    self, query_QE: np.ndarray, num: int, effort: int
  ) -> tuple[np.ndarray, np.ndarray]:
    # A search looks at no fewer rows than it returns.
    if self.index.expansion_search != effort:
      self.index.expansion_search = effort
    made = self.index.search(
      query_QE.astype(np.float32), num, threads=len(os.sched_getaffinity(0))
    )
    # The matches of a single query have one dimension, and no counts.
    row_QK = np.atleast_2d(made.keys).astype(np.int64)
    if len(query_QE) > 1:
      at_K = np.arange(row_QK.shape[1])
      row_QK[at_K >= np.asarray(made.counts)[:, None]] = -1
    return row_QK, 1 - np.atleast_2d(made.distances)


KINDS: Mapping[str, type[Kind]] = {"ivf": Ivf, "hnsw": Hnsw}


def library(kind: type[Kind]) -> Any:
  """Return the module of a kind's library.

  Raises:
    ModuleNotFoundError: it is not installed; says what to do.
  """
  try:
    return importlib.import_module(kind.MODULE)
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"an approximate index needs {kind.PACKAGE} (--exact searches without"
      " it): pip install -r requirements-index.txt",
      name=error.name,
    ) from error


def _blocks(
  shards: Sequence[np.ndarray], size: int = _BLOCK
) -> Iterator[tuple[int, np.ndarray]]:
  """Yield the position of the first row, and rows in float32."""
  first = 0
  for shard in shards:
    for start in range(0, len(shard), size):
      block_BE = shard[start : start + size].astype(np.float32)
      yield first + start, block_BE
    first += len(shard)
