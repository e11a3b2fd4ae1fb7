"""Exact search of arrays on disk: the nearest rows, by blocks in memory.

A first pass scores all rows by a kernel that multiplies as the rows are stored,
float16 say, which is bound by memory. It may err by no more than `_bound`; all
rows that could then be among the nearest are scored again in float64. The
result is that of float64 throughout.

The kernels are numkong's, which have SIMD code for float16 and for threads;
NumPy, which converts each element apart, takes some 20 times as long, and is
used where numkong has no wheel.

Shape letters: N rows, Q queries, E the embedding, K results, B rows of a block,
C candidates.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np

from inference.indexing import centring

try:
  import numkong
except ModuleNotFoundError:  # no wheel for this machine: NumPy multiplies
  numkong = None

# Rows scored at once: their scores, and those of all threads, stay in cache.
_BLOCK = 32_768
# Queries up to which each is compared with the rows by itself.
_FEW = 4
# Candidates of a query beyond which those that cannot be results are dropped.
_MANY = 4_096
# Rounding unit of float32, in which kernels accumulate.
_UNIT = 2.0**-24

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
    first = 0
    for shard in shards:
      query, bound_Q = stored[shard.dtype], bounds[shard.dtype]
      for start in range(0, len(shard), _BLOCK):
        block_BE = shard[start : start + _BLOCK]
        score_QB, error_Q = products(query, block_BE), bound_Q
        if centre is not None:
          score_QB, least = centre.scores(score_QB, query_QE, first)
          error_Q = (bound_Q + 2 * _UNIT) / least
        low, high = np.searchsorted(removed, [first, first + len(block_BE)])
        if high > low:
          score_QB[:, removed[low:high] - first] = -np.inf
        for pool, score_B, bound in zip(pools, score_QB, error_Q, strict=True):
          pool.add(score_B, first, float(bound))
        first += len(block_BE)
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
  found = [
    _nearest(shards, row_C, query_E, num, centre)
    for row_C, query_E in zip(rows, query_QE.astype(np.float64), strict=True)
  ]
  row_QK, score_QK = (np.array([*part]) for part in zip(*found, strict=True))
  return Found(row_QK.astype(np.int64), score_QK.astype(np.float32))


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
  if len(query_QE) <= _FEW:
    made = numkong.cdist(query_QE, block_BE, "dot", threads=_num_threads())
    return np.asarray(made).astype(np.float32)
  packed = numkong.dots_pack(query_QE)
  num = _num_threads()
  size = -(-len(block_BE) // num)
  parts = [
    block_BE[start : start + size] for start in range(0, num * size, size)
  ]
  multiply = numkong.dots_packed
  with futures.ThreadPoolExecutor(num) as pool:
    made = pool.map(lambda x: np.asarray(multiply(x, packed)), parts)
    return np.concatenate([*made]).T


class _Candidates:
  """Rows that may be among the nearest of one query."""

  def __init__(self, num: int):
    self._num = num
    self._least = -np.inf  # the num-th best score so far
    self._rows: list[np.ndarray] = []
    self._scores: list[np.ndarray] = []
    self._count = 0
    self._bound = 0.0

  def add(self, score_B: np.ndarray, first: int, bound: float) -> None:
    """Keep the rows of a block that may be results.

    Args:
      score_B: scores of the first pass; -inf of rows that are removed.
      first: position of the block's first row.
      bound: most that a score may err by.
    """
    self._bound = max(self._bound, bound)
    if len(score_B) > self._num and np.isneginf(self._least):
      best = np.partition(score_B, len(score_B) - self._num)
      self._least = float(best[len(score_B) - self._num])
    # A score may be too low, and the num-th best one too high.
    at_C = np.flatnonzero(score_B >= max(self._limit(), np.finfo("f4").min))
    self._rows.append(first + at_C)
    self._scores.append(score_B[at_C])
    self._count += len(at_C)
    if self._count >= self._num:
      self._prune(self._count > _MANY)

  def rows(self) -> np.ndarray:
    """Return the positions of all candidates, in order."""
    self._prune(True)
    return np.concatenate([np.zeros(0, np.int64), *self._rows])

  def _limit(self) -> float:
    return self._least - 2 * self._bound

  def _prune(self, drops: bool) -> None:
    """Raise the num-th best score; drop what is below it."""
    if self._count < max(self._num, 1):
      return
    score_C = np.concatenate(self._scores)
    at = len(score_C) - self._num
    self._least = max(self._least, float(np.partition(score_C, at)[at]))
    if drops:
      row_C = np.concatenate(self._rows)
      kept_C = score_C >= self._limit()
      self._rows, self._scores = [row_C[kept_C]], [score_C[kept_C]]
      self._count = int(kept_C.sum())


def _bound(query_QE: np.ndarray, stored_QE: np.ndarray) -> np.ndarray:
  """Return the most that a first-pass score may err by: float64 [Q].

  That is the rounding of the query, times a row's length of at most 1 (and its
  own rounding), and that of a sum of E products in float32.
  """
  error_QE = query_QE - stored_QE.astype(np.float64)
  length_Q = np.linalg.norm(query_QE, axis=1)
  summed = query_QE.shape[1] * _UNIT
  return 1.001 * (np.linalg.norm(error_QE, axis=1) + summed * length_Q)


def _nearest(
  shards: Sequence[np.ndarray],
  row_C: np.ndarray,
  query_E: np.ndarray,
  num: int,
  centre: centring.Centre | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Return rows and scores of the best candidates."""
  row_CE = rows_of(shards, row_C).astype(np.float64)
  if centre is not None:
    row_CE = centring.centred(row_CE, centre.mean_E)
  score_C = row_CE @ query_E
  best_K = np.lexsort((row_C, -score_C))[:num]
  return row_C[best_K], score_C[best_K]


def rows_of(shards: Sequence[np.ndarray], row_C: np.ndarray) -> np.ndarray:
  """Return some rows of all shards: [C, E]."""
  ends = np.cumsum([len(shard) for shard in shards])
  shard_C = np.searchsorted(ends, row_C, side="right")
  made = np.zeros((len(row_C), shards[0].shape[1]), shards[0].dtype)
  for number in np.unique(shard_C):
    at = shard_C == number
    start = ends[number] - len(shards[number])
    made[at] = shards[number][row_C[at] - start]
  return made


def _num_threads() -> int:
  return len(os.sched_getaffinity(0))
