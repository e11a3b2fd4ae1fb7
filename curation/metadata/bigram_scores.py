"""Scores of bigrams: pointwise mutual information of their two words."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from curation.metadata import pair_counts

# Parameters of "count_pmi": the quantile of the PMI that is subtracted, and the
# power of the count. The score is quoted by others from MetaCLIP 2's appendix;
# the paper itself could not be read.
_PERCENTILE = 0.3
_POWER = 0.7

# Number of values of one half of a float32's bits.
_HALF = 1 << 16


@dataclasses.dataclass(frozen=True)
class Words:
  """Counts of all words of a corpus.

  Attributes:
    hashes: uint64 [V], ascending.
    counts: int64 [V].
    total: sum of the counts, the number of tokens of the corpus.
  """

  hashes: np.ndarray
  counts: np.ndarray
  total: int


# fn(counts [N] of bigrams, PMI [N], floor) -> scores [N]
Scorer = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _pmi_score(counts: np.ndarray, pmis: np.ndarray, floor: float):
  del counts, floor
  return pmis


def _count_pmi(counts: np.ndarray, pmis: np.ndarray, floor: float):
  """Return (count + 1)^0.7 (PMI - 30th percentile of PMI).

  PMI alone ranks rare words first: log2(N / max(c1, c2)) bounds it.
  """
  return (counts + 1.0) ** _POWER * (pmis - floor)


SCORERS: Mapping[str, Scorer] = {"pmi": _pmi_score, "count_pmi": _count_pmi}


def pmi(pairs: np.ndarray, words: Words) -> np.ndarray:
  """Return log2(c12 N / (c1 c2)), a float64 [N], of PAIRs.

  N is the number of tokens, as in NLTK's BigramAssocMeasures.pmi with the
  counts of a BigramCollocationFinder.
  """
  joint = pairs["count"] * float(words.total)
  product = _count_of(pairs["first"], words) * _count_of(pairs["second"], words)
  return np.log2(joint) - np.log2(product)


def find_floor(
  parts: Callable[[], Iterable[np.ndarray]], words: Words
) -> float:
  """Return the 30th percentile of the PMI of all PAIRs.

  It is the value at index floor(0.3 (n - 1)) of the n sorted ones, as a
  float32. It is exact: the upper halves of the bits are counted, then the lower
  halves, so that only one of `parts` is in memory at a time.
  """
  upper = np.zeros(_HALF, np.int64)
  for pairs in parts():
    upper += np.bincount(_bits(pairs, words) >> 16, minlength=_HALF)
  if not upper.sum():
    return 0.0
  rank = math.floor(_PERCENTILE * (int(upper.sum()) - 1))
  head = int(np.searchsorted(np.cumsum(upper), rank, side="right"))
  rank -= int(upper[:head].sum())
  lower = np.zeros(_HALF, np.int64)
  for pairs in parts():
    bits = _bits(pairs, words)
    lower += np.bincount(
      bits[bits >> 16 == head] & (_HALF - 1), minlength=_HALF
    )
  tail = int(np.searchsorted(np.cumsum(lower), rank, side="right"))
  bits = (head << 16) + tail
  # The inverse of _bits.
  bits = bits - (1 << 31) if bits >= 1 << 31 else ~bits & 0xFFFFFFFF
  return float(np.array([bits], np.uint32).view(np.float32)[0])


def top(
  parts: Iterable[np.ndarray],
  words: Words,
  *,
  scorer: str,
  min_score: float,
  num_pairs: int,
  floor: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Return the best PAIRs and their scores, best first.

  Ties go to the higher count, then to the lower hashes.
  """
  best, best_scores = np.empty(0, pair_counts.PAIR), np.empty(0)
  for pairs in parts:
    scores = SCORERS[scorer](pairs["count"], pmi(pairs, words), floor)
    kept = scores >= min_score
    best = np.concatenate([best, pairs[kept]])
    best_scores = np.concatenate([best_scores, scores[kept]])
    if len(best) > num_pairs:
      best, best_scores = _first(best, best_scores, num_pairs)
  return _first(best, best_scores, num_pairs)


def _first(
  pairs: np.ndarray, scores: np.ndarray, num_pairs: int
) -> tuple[np.ndarray, np.ndarray]:
  keys = (pairs["second"], pairs["first"], -pairs["count"], -scores)
  order = np.lexsort(keys)[:num_pairs]
  return pairs[order], scores[order]


def _count_of(hashes: np.ndarray, words: Words) -> np.ndarray:
  return words.counts[np.searchsorted(words.hashes, hashes)].astype(np.float64)


def _bits(pairs: np.ndarray, words: Words) -> np.ndarray:
  """Return int64 [N] in the same order as the pairs' PMI in float32."""
  bits = pmi(pairs, words).astype(np.float32).view(np.uint32).astype(np.int64)
  return np.where(bits >= 1 << 31, ~bits & 0xFFFFFFFF, bits + (1 << 31))
