"""Exact search of arrays on disk: the nearest rows, by blocks in memory.

A first pass scores all rows by a kernel that multiplies as the rows are stored,
float16 say, which is bound by memory. It may err by no more than `_bound`; all
rows that could then be among the nearest are scored again in float64. The
result is that of float64 throughout.

The kernels are numkong's, which have SIMD code for float16 and leave Python's
lock to other threads, so that one block a thread is multiplied; NumPy, which
converts each element apart, takes some 20 times as long, and is used where
numkong has no wheel.

Shape letters: N rows, Q queries, E the embedding, K results, B rows of a block,
C candidates.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

import numpy as np

from inference.indexing import centring

try:
  import numkong
except ModuleNotFoundError:  # no wheel for this machine: NumPy multiplies
  numkong = None

# Rows scored at once by a thread: their scores stay in its cache.
_BLOCK = 16_384
# Blocks whose scores are kept for each thread, so that none waits.
_AHEAD = 2
# Queries whose candidates are read at once.
_READ = 32
# Rows of the first block whose scores give a first limit.
_SAMPLE = 2_048
# Rounding unit of float32, in which kernels accumulate.
_UNIT = 2.0**-24

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
P = TypeVar("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Found:
  """Nearest rows of each query, best first.

  Attributes:
    row_QK: int64, positions in all shards; K is the number asked for, or of all
      rows where there are fewer.
    score_QK: float32, inner products.
  """

  row_QK: np.ndarray
  score_QK: np.ndarray


def search(
  shards: Sequence[np.ndarray],
  query_QE: np.ndarray,
  num: int,
  *,
  removed: np.ndarray | None = None,
  centre: centring.Centre | None = None,
  kernel: Kernel | None = None,
) -> Found:
  """Return the rows of the highest inner products.

  Of equal products the first row wins.

  Args:
    shards: arrays [n, E], float16 or float32, as np.load's mmap_mode gives
      them; rows are of length 1 or shorter.
    query_QE: queries, finite.
    num: results of a query, at least 1.
    removed: sorted positions of rows that are no results.
    centre: mean of the rows; each row is compared less the mean, and scaled to
      length 1. None compares them as they are.
    kernel: `numpy_products`, or `simd_products`; None for the faster one.
  """
  query_QE = np.asarray(query_QE, np.float64)
  removed = np.zeros(0, np.int64) if removed is None else removed
  num_rows = sum(len(shard) for shard in shards)
  num = min(num, num_rows - len(removed))
  pools = [_Candidates(num) for _ in query_QE]
  if num:
    products = kernel or (simd_products if numkong else numpy_products)
    kinds = {shard.dtype for shard in shards}
    stored = {kind: query_QE.astype(kind) for kind in kinds}
    bounds = {kind: _bound(query_QE, stored[kind]) for kind in kinds}

    def scored(place: tuple[np.ndarray, int, int]) -> np.ndarray:
      shard, start, _ = place
      block_BE = shard[start : start + _BLOCK]
      return products(stored[shard.dtype], block_BE)

    places = _places(shards)
    for (shard, _, first), score_QB in _in_threads(scored, places):
      error_Q = bounds[shard.dtype]
      if centre is not None:
        score_QB, least = centre.scores(score_QB, query_QE, first)
        error_Q = (error_Q + 2 * _UNIT) / least
      end = first + score_QB.shape[1]
      low, high = np.searchsorted(removed, [first, end])
      if high > low:
        score_QB[:, removed[low:high] - first] = -np.inf
      _add(pools, score_QB, first, error_Q)
  rows = [pool.rows() for pool in pools]
  return nearest(shards, rows, query_QE, num, centre=centre)


def nearest(
  shards: Sequence[np.ndarray],
  rows: Sequence[np.ndarray],
  query_QE: np.ndarray,
  num: int,
  *,
  centre: centring.Centre | None = None,
) -> Found:
  """Return the best of some rows, scored in float64.

  Args:
    shards, query_QE, centre: as of `search`.
    rows: positions of at least `num` rows for each query, no row twice.
    num: results of a query.
  """
  row_QK, score_QK = [], []
  for start in range(0, len(rows), _READ):
    some = rows[start : start + _READ]
    z_CE = rows_of(shards, np.concatenate(some)).astype(np.float64)
    ends = np.cumsum([len(row_C) for row_C in some])
    for number, z_cE in enumerate(np.split(z_CE, ends[:-1])):
      row_C, query_E = some[number], query_QE[start + number]
      if centre is not None:
        z_cE = centring.centred(z_cE, centre.mean_E)
      score_C = z_cE @ query_E.astype(np.float64)
      best_K = np.lexsort((row_C, -score_C))[:num]
      row_QK.append(row_C[best_K])
      score_QK.append(score_C[best_K])
  return Found(np.array(row_QK, np.int64), np.array(score_QK, np.float32))


def numpy_products(query_QE: np.ndarray, block_BE: np.ndarray) -> np.ndarray:
  """Return inner products in float32: [Q, B]."""
  return query_QE.astype(np.float32) @ block_BE.astype(np.float32).T


def simd_products(query_QE: np.ndarray, block_BE: np.ndarray) -> np.ndarray:
  """Return inner products by numkong's kernels, in float32: [Q, B].

  Both arrays have the same dtype.

  Raises:
    ModuleNotFoundError: numkong is not installed.
  """
  if numkong is None:
    raise ModuleNotFoundError("numkong is not installed")
  if len(query_QE) == 1:
    made = np.asarray(numkong.cdist(query_QE, block_BE, "dot"))
    return made.astype(np.float32)
  packed = numkong.dots_pack(query_QE)
  # Each query's scores beside each other, as they are compared.
  score_QB = np.asarray(numkong.dots_packed(block_BE, packed)).T
  return np.ascontiguousarray(score_QB)


def _places(shards: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int, int]]:
  """Return the shard of each block, its first row there, and in all shards."""
  made, first = [], 0
  for shard in shards:
    made += [(shard, x, first + x) for x in range(0, len(shard), _BLOCK)]
    first += len(shard)
  return made


def _in_threads(
  fn: Callable[[P], R], items: Sequence[P]
) -> Iterator[tuple[P, R]]:
  """Yield each item and the function's result, in order, a few ahead."""
  if len(items) == 1:
    yield items[0], fn(items[0])
    return
  num_ahead = _AHEAD * _num_threads()
  ahead = [_threads().submit(fn, item) for item in items[:num_ahead]]
  for number, item in enumerate(items):
    result = ahead.pop(0).result()
    if number + num_ahead < len(items):
      ahead.append(_threads().submit(fn, items[number + num_ahead]))
    yield item, result


@functools.cache
def _threads() -> futures.ThreadPoolExecutor:
  """Return the threads of all searches, which are started once."""
  return futures.ThreadPoolExecutor(_num_threads(), "products")


def _add(
  pools: Sequence["_Candidates"],
  score_QB: np.ndarray,
  first: int,
  bound_Q: np.ndarray,
) -> None:
  """Add the rows of a block that may be results of each query.

  Args:
    pools: candidates of each query.
    score_QB: scores of the first pass; -inf of rows that are removed.
    first: position of the block's first row.
    bound_Q: most that a score of a query may err by.
  """
  for pool, score_B, bound in zip(pools, score_QB, bound_Q, strict=True):
    pool.prepare(score_B, float(bound))
  # Rounded down, since a rounded limit must leave out no candidate.
  limit_Q = np.nextafter(
    np.array([pool.limit() for pool in pools], np.float32), np.float32(-np.inf)
  )
  least = np.finfo(np.float32).min
  is_near_QB = score_QB >= np.maximum(limit_Q, least)[:, None]
  # A tenth of the time of np.nonzero.
  query_C, row_C = np.divmod(np.flatnonzero(is_near_QB), score_QB.shape[1])
  starts = np.searchsorted(query_C, np.arange(len(pools) + 1))
  for number in np.flatnonzero(np.diff(starts)).tolist():
    row_c = row_C[starts[number] : starts[number + 1]]
    pools[number].add(first + row_c, score_QB[number, row_c])


class _Candidates:
  """Rows that may be among the nearest of one query."""

  def __init__(self, num: int):
    self._num = num
    self._least = -np.inf  # no more than the num-th best score
    self._rows: list[np.ndarray] = []
    self._scores: list[np.ndarray] = []
    self._count = 0
    self._next = num  # count from which some are dropped
    self._bound = 0.0

  def limit(self) -> float:
    """Return the least score of a candidate.

    A score may be too low by the bound, and the num-th best one too high.
    """
    return self._least - 2 * self._bound

  def prepare(self, score_B: np.ndarray, bound: float) -> None:
    """Take note of a block's bound; find a limit in the first block."""
    self._bound = max(self._bound, bound)
    if np.isneginf(self._least):
      # The num-th best score of a part is no better than that of all.
      some = score_B[:_SAMPLE] if self._num <= _SAMPLE else score_B
      if len(some) > self._num:
        self._least = _best(some, self._num)

  def add(self, row_C: np.ndarray, score_C: np.ndarray) -> None:
    """Keep candidates of a block."""
    self._rows.append(row_C)
    self._scores.append(score_C)
    self._count += len(row_C)
    if self._count >= self._next:
      self._prune()

  def rows(self) -> np.ndarray:
    """Return the positions of all candidates, in order."""
    self._prune()
    return np.concatenate([np.zeros(0, np.int64), *self._rows])

  def _prune(self) -> None:
    """Raise the limit; drop what is below it."""
    if self._count < max(self._num, 1):
      return
    score_C = np.concatenate(self._scores)
    self._least = max(self._least, _best(score_C, self._num))
    row_C = np.concatenate(self._rows)
    kept_C = score_C >= np.nextafter(
      np.float32(self.limit()), np.float32(-np.inf)
    )
    self._rows, self._scores = [row_C[kept_C]], [score_C[kept_C]]
    self._count = int(kept_C.sum())
    self._next = 2 * self._count


def _best(score_C: np.ndarray, num: int) -> float:
  """Return the num-th best of at least that many scores."""
  at = len(score_C) - num
  return float(np.partition(score_C, at)[at])


def _bound(query_QE: np.ndarray, stored_QE: np.ndarray) -> np.ndarray:
  """Return the most that a first-pass score may err by: float64 [Q].

  That is the rounding of the query, times a row's length of at most 1 (and its
  own rounding), and that of a sum of E products in float32.
  """
  error_QE = query_QE - stored_QE.astype(np.float64)
  length_Q = np.linalg.norm(query_QE, axis=1)
  summed = query_QE.shape[1] * _UNIT
  return 1.001 * (np.linalg.norm(error_QE, axis=1) + summed * length_Q)


def rows_of(shards: Sequence[np.ndarray], row_C: np.ndarray) -> np.ndarray:
  """Return some rows of all shards: [C, E]."""
  made = np.zeros((len(row_C), shards[0].shape[1]), shards[0].dtype)
  first = 0
  for shard in shards:
    is_here_C = (row_C >= first) & (row_C < first + len(shard))
    if is_here_C.any():
      made[is_here_C] = shard[row_C[is_here_C] - first]
    first += len(shard)
  return made


def _num_threads() -> int:
  return len(os.sched_getaffinity(0))
