"""MetaCLIP's balancing: a pair is kept if any of its entries keeps it.

With count_e the number of matches of an entry in the whole pool, an entry keeps
a pair with probability p_e = min(1, t / count_e), and a pair is kept if one of
its entries keeps it (arXiv 2309.16671; MetaCLIP, metaclip/balancing.py):

  keep(pair) = 1 - product over its entries of (1 - p_e)

So t bounds the expected number of pairs that an entry keeps, not its number of
matches in the kept pairs. Each pair is decided by one draw that depends on its
UID alone (keys/hashing.py), so the pairs kept with a larger t include those
kept with a smaller one.
"""

import numpy as np

from curation.captions import matching


def miss_probabilities(counts: np.ndarray, t: int) -> np.ndarray:
  """Return 1 - p_e of each entry, float64 [E], from counts, int64 [E]."""
  return 1.0 - t / np.maximum(counts, t)


def keep_probabilities(
  matches: matching.Matches, misses: np.ndarray
) -> np.ndarray:
  """Return keep(pair) for each pair: float64 [N]; 0 for one without entries.

  Args:
    matches: the pairs' entries.
    misses: 1 - p_e of each entry, float64 [E].
  """
  probabilities = np.zeros(len(matches.offsets) - 1)
  if not len(matches.ids):
    return probabilities
  starts, ends = matches.offsets[:-1], matches.offsets[1:]
  matched = starts < ends
  # reduceat refuses empty pieces; pairs without entries are left out.
  products = np.multiply.reduceat(misses.take(matches.ids), starts[matched])
  probabilities[matched] = 1.0 - products
  return probabilities


def tail_mass(counts: np.ndarray, t: int) -> float:
  """Return the share of matches that belong to entries with counts below t.

  Source: t_to_p of MetaCLIP 2 (metaclip/curation/curate.py).
  """
  total = int(counts.sum())
  return int(counts[counts < t].sum()) / total if total else 0.0


def t_of_tail_mass(counts: np.ndarray, mass: float) -> int:
  """Return the t whose `tail_mass` is nearest; at least 1.

  Candidates are the counts in the pool, and the largest count plus one; a tie
  goes to the smallest.
  """
  distinct, numbers = np.unique(counts[counts > 0], return_counts=True)
  if not len(distinct):
    return 1
  # Matches below each candidate: 0 for the first, all for the last.
  below = np.concatenate([[0], np.cumsum(distinct * numbers)])
  ts = np.append(distinct, distinct[-1] + 1)
  return int(ts[np.argmin(np.abs(below - mass * below[-1]))])


def published_t_of_tail_mass(counts: np.ndarray, mass: float) -> int:
  """Return the t of MetaCLIP 2's p_to_t (metaclip/curation/curate.py).

  The sum up to an entry includes its own count, unlike in `tail_mass`, so the
  tail mass of this t is below `mass` by up to one entry's matches. At least 1.
  """
  ordered = np.sort(counts)
  sums = np.cumsum(ordered)
  if not len(sums) or not sums[-1]:
    return 1
  return max(1, int(ordered[np.argmin(np.abs(sums - mass * sums[-1]))]))
