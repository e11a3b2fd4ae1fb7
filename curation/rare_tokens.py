"""ALIGN's rare-token rule: captions of frequent words and word pairs only.

Jia et al. (arXiv 2102.05918, section 3) drop an alt-text with any token outside
of the 100 million most frequent unigrams and bigrams of the raw dataset. What
the paper leaves open is settled here:

- a unigram is a word of Python's text.split(), with its punctuation, in lower
  case if `lowercase` says so (Unicode's simple mapping); a bigram is two words
  that follow each other in a caption;
- unigrams and bigrams share one list;
- each occurrence counts, also a second one in the same caption;
- of terms that are as frequent as the last one of the list, those with the
  lowest hashes are in it.

Terms are 64-bit hashes: of 20 billion different ones, 11 pairs are expected to
be taken for the same (strings.hashes).
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import (
  bloom,
  groups,
  key_sets,
  operators,
  runs,
  strings,
  table_keys,
)

MEMBERSHIPS = ("exact", "bloom")


@dataclasses.dataclass(frozen=True)
class RareTokens(operators.Reduction):
  """Drop captions with a term that is not among the pool's most frequent.

  Attributes:
    num_terms: in the list.
    bigrams: whether pairs of words are counted and looked up beside words.
    lowercase: whether case is ignored.
    membership: "exact", 8 bytes a term on disk, mapped into memory; or "bloom".
    false_positive_rate: of the Bloom filter: the share of rare terms that it
      takes for frequent, so that a caption stays that should be dropped. 9.6
      bits a term at 0.01, 14.4 at 0.001.
  """

  num_terms: int
  bigrams: bool
  lowercase: bool
  membership: str
  false_positive_rate: float

  columns = ("text",)
  measured = ("text",)
  measures_raw = True

  def check(self, field: str) -> None:
    if self.num_terms < 1:
      raise ValueError(
        f"{field}.num_terms must be at least 1; got {self.num_terms}"
      )
    if self.membership not in MEMBERSHIPS:
      raise ValueError(
        f"{field}.membership must be one of {', '.join(MEMBERSHIPS)}; got"
        f" {self.membership!r}"
      )
    if not 0 < self.false_positive_rate < 1:
      raise ValueError(
        f"{field}.false_positive_rate must be between 0 and 1; got"
        f" {self.false_positive_rate}"
      )

  def measure(self, place: operators.Place) -> operators.Measure:
    del place
    return _Counts(self)

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    place: operators.Place,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    state = place.state
    assert state is not None
    facts = groups.top_keys(
      parts, state / "exact", run, num_keys=self.num_terms
    )
    found = {
      "num_occurrences": facts["num"],
      "num_terms": facts["num_keys"],
      "num_frequent_terms": facts["num_keys_above"],
      "num_frequent_occurrences": facts["num_above"],
      "least_count": facts["least_count"],
    }
    if self.membership == "bloom":
      made = bloom.make(facts["num_keys_above"], self.false_positive_rate)
      for piece in runs.pieces(state / "exact"):
        made.add(*piece)
      made.save(state / "bloom")
      (state / "exact").unlink()
    return found

  def open(self, place: operators.Place) -> operators.DecideFn:
    assert place.state is not None
    if self.membership == "bloom":
      frequent = bloom.load(place.state / "bloom")
    else:
      frequent = key_sets.Keys(place.state / "exact")

    def decide(table: pa.Table) -> operators.Verdict:
      found, rows = self.terms_of(table["text"])
      keep = np.ones(len(table), bool)
      keep[rows[~frequent.contains(found)]] = False
      return operators.Verdict(keep)

    return decide

  def terms_of(self, texts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `terms` does, with the step's parameters."""
    return terms(texts, bigrams=self.bigrams, lowercase=self.lowercase)


def terms(
  texts: pa.Array | pa.ChunkedArray, *, bigrams: bool, lowercase: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Return hashes of all terms, uint64 [T], and which text has each, int64 [T].

  First are all words of all texts, then, with `bigrams`, all pairs of words.
  """
  if lowercase:
    texts = pc.call_function("utf8_lower", [texts])
  words, counts = strings.words(texts)
  # Each word is hashed once.
  encoded = words.dictionary_encode()
  hashes = strings.hashes(encoded.dictionary)[encoded.indices.to_numpy()]
  rows = np.repeat(np.arange(len(counts)), counts)
  if not bigrams:
    return hashes, rows
  # Of the words that have one behind them in their text.
  first = np.flatnonzero(rows[1:] == rows[:-1])
  pairs = table_keys.pairs(hashes[first], hashes[first + 1])
  return np.concatenate([hashes, pairs]), np.concatenate([rows, rows[first]])


class _Counts:
  """Counts the terms of a shard."""

  def __init__(self, step: RareTokens) -> None:
    self._step = step
    self._gathered = groups.Occurrences()

  def add(self, table: pa.Table) -> None:
    """Add pairs."""
    found, _ = self._step.terms_of(table["text"])
    self._gathered.add(*np.unique(found, return_counts=True))

  def save(self, path: pathlib.Path) -> None:
    """Write the counts."""
    self._gathered.save(path)
