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

from curation import operators
from curation.keys import bloom, strings
from curation.on_disk import groups, key_sets, runs, table_keys
from runtime import progress

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

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    return _Counts(self)

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    state = context.state
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
      num_keys = facts["num_keys_above"]
      made = bloom.make(num_keys, self.false_positive_rate)
      with progress.Progress("Terms into the Bloom filter", num_keys) as bar:
        for (keys,) in runs.pieces(state / "exact"):
          made.add(keys)
          bar.advance(len(keys))
      made.save(state / "bloom")
      (state / "exact").unlink()
    return found

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    assert context.state is not None
    if self.membership == "bloom":
      frequent = bloom.load(context.state / "bloom")
    else:
      frequent = key_sets.Keys(context.state / "exact")

    def decide(table: pa.Table) -> operators.Verdict:
      words = self.words_of(table["text"])
      is_rare = ~frequent.contains(words.hashes)[words.which]
      keep = np.ones(len(table), bool)
      keep[words.rows[is_rare]] = False
      if self.bigrams:
        # Of the captions that are left.
        first = words.with_next()
        first = first[keep[words.rows[first]]]
        is_rare = ~frequent.contains(words.pairs(first))
        keep[words.rows[first[is_rare]]] = False
      return operators.Verdict(keep)

    return decide

  def words_of(self, texts: pa.Array | pa.ChunkedArray) -> "_Words":
    """Return the words of texts, with case as the step has it."""
    if self.lowercase:
      texts = pc.call_function("utf8_lower", [texts])
    words, counts = strings.words(texts)
    # Each word is hashed and looked up once.
    encoded = words.dictionary_encode()
    return _Words(
      hashes=strings.hashes(encoded.dictionary),
      which=encoded.indices.to_numpy(),
      rows=np.repeat(np.arange(len(counts)), counts),
    )


@dataclasses.dataclass(frozen=True)
class _Words:
  """All words of some texts, in order.

  Attributes:
    hashes: uint64 [D], of the different words.
    which: int32 [W]: the place of each word in `hashes`.
    rows: int64 [W]: the row of the text that has it.
  """

  hashes: np.ndarray
  which: np.ndarray
  rows: np.ndarray

  def with_next(self) -> np.ndarray:
    """Return the places of words that have another behind them: int64 [P]."""
    return np.flatnonzero(self.rows[1:] == self.rows[:-1])

  def pairs(self, first: np.ndarray) -> np.ndarray:
    """Return the hashes of the pairs that begin with words at these places."""
    return table_keys.pairs(
      self.hashes[self.which[first]], self.hashes[self.which[first + 1]]
    )


class _Counts:
  """Counts the terms of a shard."""

  def __init__(self, step: RareTokens) -> None:
    self._step = step
    self._gathered = groups.Occurrences()

  def add(self, table: pa.Table) -> None:
    """Add pairs."""
    words = self._step.words_of(table["text"])
    counts = np.bincount(words.which, minlength=len(words.hashes))
    self._gathered.add(words.hashes, counts)
    if self._step.bigrams:
      pairs = words.pairs(words.with_next())
      self._gathered.add(*np.unique(pairs, return_counts=True))

  def save(self, path: pathlib.Path) -> None:
    """Write the counts."""
    self._gathered.save(path)
