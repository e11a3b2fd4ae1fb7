"""Shares of simulated sets whose interval holds the truth.

To print the table of evaluators/metrics/intervals.py (minutes):
  python -m tests.evaluators.metrics.test_coverage
"""

import sys

import numpy as np
import pytest

from evaluators.metrics import intervals, paired

SHARES = (0.1, 0.5, 0.9)


def wilson(rng, n, p):
  return intervals.wilson(rng.binomial(n, p), n)


def clustered(rng, n, p):
  """Simulate n images of 1 to 5 captions, which share their difficulty."""
  size_C = rng.integers(1, 6, n)
  cluster_Q = np.repeat(np.arange(n), size_C)
  hit_Q = rng.random(len(cluster_Q)) < rng.beta(p, 1 - p, n)[cluster_Q]
  return intervals.clustered(hit_Q, cluster_Q)


def stratified(rng, n, p):
  """Simulate n examples of 10 classes, some rarer, of different accuracy."""
  label_N = np.concatenate(
    [np.arange(10), rng.choice(10, n - 10, p=np.arange(1, 11) / 55)]
  )
  share_A = p + np.linspace(-1, 1, 10) * min(p, 1 - p) / 2
  return intervals.stratified(rng.random(n) < share_A[label_N], label_N)


def difference(rng, n, p):
  """Simulate two models whose answers are alike; the truth is moved to p."""
  a_N, b_N = rng.random(n) < 0.5, rng.random(n) < p
  a_N = np.where(rng.random(n) < 0.8, b_N, a_N)
  keys = [str(i) for i in range(n)]
  low, high = paired.compare(
    paired.Items("a", keys, a_N), paired.Items("b", keys, b_N)
  )["interval"]
  return np.array([low, high]) - 0.2 * (p - 0.5) + p


def median(rng, n, p):
  """Simulate ranks of captions; their median is moved to p."""
  size_C = rng.integers(1, 6, n)
  shift_Q = np.repeat(rng.normal(size=n), size_C)
  rank_Q = p + shift_Q + rng.normal(size=len(shift_Q))
  return intervals.clustered_median(rank_Q, np.repeat(np.arange(n), size_C))


def figure(rng, n, p):
  """Simulate a figure of each example, such as reciprocal ranks."""
  return intervals.clustered(rng.beta(2 * p, 2 - 2 * p, n))


def macro_f1(rng, n, p):
  """Simulate 5 classes, of which p are predicted right; F1 is moved to p."""
  share_A = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
  label_N = rng.choice(5, n, p=share_A)
  wrong_N = (label_N + rng.integers(1, 5, n)) % 5
  predicted_N = np.where(rng.random(n) < p, label_N, wrong_N)
  predicted_A = p * share_A + (1 - p) * (1 - share_A) / 4
  truth = np.mean(2 * p * share_A / (share_A + predicted_A))
  return intervals.f1(label_N, predicted_N, 5)["macro_f1"] - truth + p


KINDS = (
  wilson,
  clustered,
  stratified,
  difference,
  median,
  figure,
  macro_f1,
)


def coverage(kind, n, p, *, num_sets):
  rng = np.random.default_rng(round(1000 * p) + n)
  bounds = np.array([kind(rng, n, p) for _ in range(num_sets)])
  return np.mean((bounds[:, 0] <= p) & (p <= bounds[:, 1]))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("p", SHARES)
def test_intervals_hold_the_truth(kind, p):
  # Standard error: 0.7 points over 1,000 sets, 0.6 over 1,500. The table of
  # intervals.py, which this file prints as a program, is of 5,000.
  num_sets = 1000 if kind in (wilson, clustered, stratified) else 1500
  assert 0.93 <= coverage(kind, 500, p, num_sets=num_sets) <= 0.97


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_intervals_hold_the_truth_most_often(kind):
  # Four standard errors over 200 sets are 6 points.
  assert 0.89 <= coverage(kind, 100, 0.3, num_sets=200) <= 0.99


def main() -> None:
  names = [kind.__name__ for kind in KINDS]
  print("  n    " + "".join(f"{name:>13}" for name in names))
  for n in map(int, sys.argv[1:] or (20, 50, 100, 500)):
    row = []
    for kind in KINDS:
      got = [100 * coverage(kind, n, p, num_sets=5000) for p in SHARES]
      row.append(f"{min(got):.1f}-{max(got):.1f}")
    print(f"{n:>5}  " + "".join(f"{cell:>13}" for cell in row), flush=True)


if __name__ == "__main__":
  main()
