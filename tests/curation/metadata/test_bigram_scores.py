"""Scores of bigrams."""

import math

import numpy as np

from curation.metadata import bigram_scores, pair_counts


def corpus(seed=0, num_words=60):
  rng = np.random.default_rng(seed)
  hashes = np.unique(rng.integers(0, 1 << 64, num_words, np.uint64))
  counts = rng.integers(1, 500, len(hashes))
  words = bigram_scores.Words(hashes, counts, int(counts.sum()))
  pairs = np.empty(700, pair_counts.PAIR)
  pairs["first"] = rng.choice(hashes, len(pairs))
  pairs["second"] = rng.choice(hashes, len(pairs))
  pairs["count"] = rng.integers(1, 9, len(pairs))
  return pair_counts.sum_pairs([pairs]), words


def test_pmi_is_that_of_each_pair():
  pairs, words = corpus()
  count = dict(zip(words.hashes.tolist(), words.counts.tolist(), strict=True))
  expected = [
    math.log2(n * words.total / (count[a] * count[b]))
    for a, b, n in pairs.tolist()
  ]
  # Rounding of float64.
  np.testing.assert_allclose(
    bigram_scores.pmi(pairs, words), expected, atol=1e-12
  )


def test_pmi_is_bounded_by_the_rarer_word_and_the_size_of_the_corpus():
  pair = np.array([(1, 2, 3)], pair_counts.PAIR)
  words = bigram_scores.Words(
    np.array([1, 2], np.uint64), np.array([3, 3]), total=1 << 20
  )
  bound = math.log2((1 << 20) / 3)
  # Rounding of float64.
  assert math.isclose(bigram_scores.pmi(pair, words)[0], bound, rel_tol=1e-14)


def test_the_floor_is_exact_however_the_pairs_are_cut():
  pairs, words = corpus()
  values = np.sort(bigram_scores.pmi(pairs, words).astype(np.float32))
  assert (values < 0).any()
  assert (values > 0).any()
  for num_parts in (1, 4):
    found = bigram_scores.find_floor(
      lambda n=num_parts: np.array_split(pairs, n), words
    )
    assert found == values[int(0.3 * (len(values) - 1))]
  assert bigram_scores.find_floor(lambda: [pairs[:0]], words) == 0


def test_the_best_are_those_of_a_sort():
  pairs, words = corpus()
  floor = bigram_scores.find_floor(lambda: [pairs], words)
  pmis = bigram_scores.pmi(pairs, words)
  for scorer, values in (
    ("pmi", pmis),
    ("count_pmi", (pairs["count"] + 1.0) ** 0.7 * (pmis - floor)),
  ):
    best, found = bigram_scores.top(
      np.array_split(pairs, 5),
      words,
      scorer=scorer,
      min_score=0.5,
      num_pairs=50,
      floor=floor,
    )
    order = sorted(
      np.flatnonzero(values >= 0.5),
      key=lambda i: (-values[i], -pairs["count"][i], *pairs[i].tolist()),
    )
    assert best.tolist() == pairs[order[:50]].tolist()
    assert found.tolist() == values[order[:50]].tolist()


def test_the_count_decides_between_rare_and_frequent_pairs():
  # Once each and always together, and 500 of 600 times together.
  pairs = np.array([(1, 2, 1), (3, 4, 500)], pair_counts.PAIR)
  words = bigram_scores.Words(
    np.arange(1, 5, dtype=np.uint64), np.array([1, 1, 600, 600]), 100_000
  )
  firsts = {}
  for scorer in bigram_scores.SCORERS:
    best, _ = bigram_scores.top(
      [pairs],
      words,
      scorer=scorer,
      min_score=0.0,
      num_pairs=1,
      floor=0.0,
    )
    firsts[scorer] = best["first"].tolist()
  assert firsts == {"pmi": [1], "count_pmi": [3]}
