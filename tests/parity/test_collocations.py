"""PMI of bigrams beside NLTK's.

Runs where NLTK is; skipped elsewhere. None of its data is read.
"""

import numpy as np
import pyarrow as pa
import pytest

from curation.metadata import (
  bigram_scores,
  corpus_words,
  pair_counts,
  term_counts,
)

collocations = pytest.importorskip("nltk.collocations")

TEXT = "the red fox and the red hen saw the red fox run the fox the hen a fox"


def test_pmi_equals_nltk():
  found = corpus_words.tokenize(pa.array([TEXT]), "words", "en")
  finder = collocations.BigramCollocationFinder.from_words(TEXT.split())
  measure = collocations.BigramAssocMeasures.pmi
  expected = dict(finder.score_ngrams(measure))

  hashes = term_counts.hash64(found.terms)
  names = dict(zip(hashes.tolist(), found.terms.to_pylist(), strict=True))
  ids = found.ids[found.ids >= 0]
  order = np.argsort(hashes)
  counts = np.bincount(ids, minlength=len(hashes))[order]
  words = bigram_scores.Words(hashes[order], counts, len(ids))
  first, second = hashes[ids[:-1]], hashes[ids[1:]]
  pairs = np.empty(len(first), pair_counts.PAIR)
  pairs["first"], pairs["second"], pairs["count"] = first, second, 1
  pairs = pair_counts.sum_pairs([pairs])
  values = bigram_scores.pmi(pairs, words)
  assert (
    len(values) == len(expected) == len(set(zip(first, second, strict=True)))
  )
  for (a, b, _), value in zip(pairs.tolist(), values, strict=True):
    # Rounding of float64.
    assert value == pytest.approx(expected[names[a], names[b]], abs=1e-12)
