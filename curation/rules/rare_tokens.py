"""ALIGN's rare-token rule: captions of frequent words and word pairs only.

Jia et al. (arXiv 2102.05918, section 3) drop an alt-text with any token outside
of the 100 million most frequent unigrams and bigrams of the raw dataset. This
file settles the questions that the paper leaves open:

- a unigram is a word of Python's text.split(), with its punctuation, in lower
  case if `lowercase` is set (Unicode's simple mapping); a bigram is two
  successive words of a caption;
- unigrams and bigrams share one list;
- each occurrence counts, also a second one in the same caption;
- ties at the end of the list go to the terms with the lowest hashes.

Terms are 64-bit hashes: among 20 billion terms, 11 pairs are expected to
collide (strings.hashes).
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation.keys import bloom, strings
from curation.on_disk import groups, key_sets, runs, table_keys
from runtime import checks, progress

MEMBERSHIPS = ("exact", "bloom")


@dataclasses.dataclass(frozen=True)
class RareTokens(operators.Filter, operators.Reduction):
  """Drop captions with a term that is not among the pool's most frequent.

  Attributes:
    num_terms: number of terms in the list.
    bigrams: whether bigrams are counted and looked up beside unigrams.
    lowercase: whether case is ignored.
    membership: "exact", 8 bytes a term on disk, mapped into memory; or "bloom".
    false_positive_rate: share of rare terms that the Bloom filter takes for
      frequent, which keeps captions that should be dropped. A term takes 9.6
      bits at 0.01, 14.4 at 0.001.
  """

  num_terms: int
  bigrams: bool
  lowercase: bool
  membership: str
  false_positive_rate: float

  columns = ("text",)
  measures_raw = True

  def check(self, field: str) -> None:
    checks.at_least(f"{field}.num_terms", self.num_terms, 1)
    checks.one_of(f"{field}.membership", self.membership, MEMBERSHIPS)
    if not 0 < self.false_positive_rate < 1:
      checks.refuse(
        f"{field}.false_positive_rate must be above 0 and below 1; got"
        f" {self.false_positive_rate}"
      )

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    return _Counts(self)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    state = context.state
    facts = groups.top_keys(
      parts, state / "exact", context.run, num_keys=self.num_terms
    )
    if self.membership == "bloom":
      num_keys = facts["num_keys_above"]
      made = bloom.make(num_keys, self.false_positive_rate)
      with progress.Progress("Terms into the Bloom filter", num_keys) as bar:
        for (keys,) in runs.pieces(state / "exact"):
          made.add(keys)
          bar.advance(len(keys))
      made.save(state / "bloom")
      (state / "exact").unlink()
    return {
      "num_occurrences": facts["num"],
      "num_terms": facts["num_keys"],
      "num_frequent_terms": facts["num_keys_above"],
      "num_frequent_occurrences": facts["num_above"],
      "least_count": facts["least_count"],
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    if self.membership == "bloom":
      frequent = bloom.load(context.state / "bloom")
    else:
      frequent = key_sets.Keys(context.state / "exact")

    def decide(table: pa.Table) -> operators.Verdict:
      words = self.words_of(table["text"])
      is_rare = ~frequent.contains(words.hashes)[words.index]
      keep = np.ones(len(table), bool)
      keep[words.rows[is_rare]] = False
      if self.bigrams:
        # Dropped captions are not looked up again.
        first = words.with_next()
        first = first[keep[words.rows[first]]]
        is_rare = ~frequent.contains(words.pairs(first))
        keep[words.rows[first[is_rare]]] = False
      return operators.Verdict(keep)

    return decide

  def words_of(self, texts: pa.Array | pa.ChunkedArray) -> "_Words":
    """Return the words of texts, in lower case if `lowercase` is set."""
    if self.lowercase:
      texts = pc.call_function("utf8_lower", [texts])
    words, counts = strings.words(texts)
    # Each word is hashed and looked up once.
    encoded = words.dictionary_encode()
    return _Words(
      hashes=strings.hashes(encoded.dictionary),
      index=encoded.indices.to_numpy(),
      rows=np.repeat(np.arange(len(counts)), counts),
    )


@dataclasses.dataclass(frozen=True)
class _Words:
  """Words of texts, in order.

  Attributes:
    hashes: uint64 [D], one for each distinct word.
    index: int32 [W], index of each word in `hashes`.
    rows: int64 [W], row of the text that has the word.
  """

  hashes: np.ndarray
  index: np.ndarray
  rows: np.ndarray

  def with_next(self) -> np.ndarray:
    """Return the positions of words with a next word in the text: int64 [P]."""
    return np.flatnonzero(self.rows[1:] == self.rows[:-1])

  def pairs(self, first: np.ndarray) -> np.ndarray:
    """Return the hashes of the bigrams that begin at positions `first`."""
    return table_keys.pairs(
      self.hashes[self.index[first]], self.hashes[self.index[first + 1]]
    )


class _Counts:
  """Counts of the terms of a shard."""

  def __init__(self, step: RareTokens) -> None:
    self._step = step
    self._gathered = groups.Occurrences()

  def add(self, table: pa.Table) -> None:
    """Add pairs."""
    words = self._step.words_of(table["text"])
    counts = np.bincount(words.index, minlength=len(words.hashes))
    self._gathered.add(words.hashes, counts)
    if self._step.bigrams:
      pairs = words.pairs(words.with_next())
      self._gathered.add(*np.unique(pairs, return_counts=True))

  def save(self, path: pathlib.Path) -> None:
    """Write the counts."""
    self._gathered.save(path)
