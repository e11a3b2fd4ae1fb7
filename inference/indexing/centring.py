"""Rows less their mean: embeddings of one modality, centred.

Embeddings of pictures lie in one cone of the space, those of texts in another
(Liang et al., "Mind the Gap", arXiv 2203.02053). A row is centred by
subtracting the mean of its modality, and scaled to length 1 again, so that
scores are cosine similarities of what tells rows of a modality apart.

Shape letters: N rows, E the embedding, Q queries, B rows of a block.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np

# Rows that a thread converts to float64 at once: 16 MB at 512 numbers a row.
_ROWS = 4_096
# Length of a centred row below which it is the mean but for rounding: its
# scores are 0.
LEAST = 1e-6


@dataclasses.dataclass(frozen=True)
class Centre:
  """Mean of rows.

  Attributes:
    mean_E: float64.
    length_N: float64, length of each row less the mean; of all rows, those
      that are removed too.
    num: rows that the mean is of.
  """

  mean_E: np.ndarray
  length_N: np.ndarray
  num: int

  def scores(
    self, product_QB: np.ndarray, query_QE: np.ndarray, first: int
  ) -> tuple[np.ndarray, float]:
    """Return scores with centred rows: [Q, B], and the least length of a row.

    Args:
      product_QB: inner products of queries and rows as they are.
      query_QE: the queries.
      first: position of the block's first row.
    """
    length_B = self.length_N[first : first + product_QB.shape[1]]
    is_mean_B = length_B < LEAST
    length_B = np.where(is_mean_B, np.inf, length_B)
    score_QB = (product_QB - (query_QE @ self.mean_E)[:, None]) / length_B
    return score_QB.astype(np.float32), float(length_B.min())


def of_shards(shards: Sequence[np.ndarray], removed: np.ndarray) -> Centre:
  """Return the mean of rows, by two passes over them.

  Args:
    shards: arrays [n, E], as of exact.search.
    removed: sorted positions of rows that the mean is not of.
  """
  num = sum(map(len, shards)) - len(removed)
  is_kept_N = np.ones(num + len(removed), bool)
  is_kept_N[removed] = False
  sums = _mapped(lambda z_BE, at: is_kept_N[at] @ z_BE, shards)
  mean_E = sum(sums, np.zeros(shards[0].shape[1])) / max(num, 1)
  lengths = _mapped(
    lambda z_BE, at: np.linalg.norm(z_BE - mean_E, axis=1), shards
  )
  return Centre(mean_E, np.concatenate([*lengths]), num)


def centred(z_NE: np.ndarray, mean_E: np.ndarray) -> np.ndarray:
  """Return rows less the mean, of length 1, float64; 0 for the mean itself."""
  made_NE = np.asarray(z_NE, np.float64) - mean_E
  length_N1 = np.linalg.norm(made_NE, axis=1, keepdims=True)
  return made_NE / np.where(length_N1 < LEAST, np.inf, length_N1)


def _mapped(
  call: Callable[[np.ndarray, slice], np.ndarray],
  shards: Sequence[np.ndarray],
) -> Iterator[np.ndarray]:
  """Yield what a function returns for blocks of rows, in order.

  It is called in threads, with rows in float64 and their positions.
  """
  blocks, first = [], 0
  for shard in shards:
    for start in range(0, len(shard), _ROWS):
      blocks.append((shard[start : start + _ROWS], first + start))
    first += len(shard)
  with futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    yield from pool.map(
      lambda block: call(
        block[0].astype(np.float64),
        slice(block[1], block[1] + len(block[0])),
      ),
      blocks,
    )
