"""Rules about the words of a caption: blocked terms, nouns."""

import dataclasses
import functools
import pathlib
import string

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation.captions import wordnet
from curation.keys import strings
from curation.on_disk import table_keys
from runtime import checks

# Cached answers, one for each word: captions have new words without end.
_KEPT_WORDS = 1 << 20


@dataclasses.dataclass(frozen=True)
class Blocklist(operators.Filter):
  """Drop captions with a term of the user's files: profanity lists, say.

  Case, whitespace and ASCII punctuation around words are ignored: "Damn!" has
  the term "damn", "damned" has not.

  Attributes:
    terms: files with one term a line: a word, or several in a row.
  """

  terms: tuple[str, ...]

  columns = ("text",)

  def check(self, field: str) -> None:
    if not self.terms:
      checks.refuse(
        f"{field}.terms must name at least one file, with one term a line; got"
        " ()"
      )
    if all(pathlib.Path(path).exists() for path in self.terms):
      # A list without terms fails here, before workers start.
      _hashed_terms(self.terms)

  def files(self) -> tuple[str, ...]:
    return self.terms

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context
    terms = _hashed_terms(self.terms)

    def decide(table: pa.Table) -> operators.Verdict:
      words, rows = bare_words(table["text"])
      hashes = strings.hashes(words)
      keep = np.ones(len(table), bool)
      for size, blocked in terms.items():
        hits = np.isin(_ngrams(hashes, size), blocked)
        # The words of a term lie in one caption.
        hits &= rows[: len(hits)] == rows[len(rows) - len(hits) :]
        keep[rows[: len(hits)][hits]] = False
      return operators.Verdict(keep)

    return decide


@dataclasses.dataclass(frozen=True)
class ContainsNoun(operators.Filter):
  """Keep captions with a word that WordNet 3.0 lists as a noun.

  Words are looked up as they are and without their ending, whatever they are in
  the caption: "in" and "a" are nouns to WordNet (inch; the letter), unless
  `min_chars` is above 2. COYO-700M (README.md of kakaobrain/coyo-dataset) does
  not say how it finds nouns.

  Attributes:
    wordnet: folder of WordNet 3.0's files; "" takes the package's.
    min_chars: length of the shortest word that is looked up.
  """

  wordnet: str
  min_chars: int

  columns = ("text",)

  def check(self, field: str) -> None:
    # Missing files fail here, before workers start.
    try:
      wordnet.check_version(wordnet.find(self.wordnet))
    except ValueError as error:
      raise ValueError(
        f"{field}.wordnet must be a folder of WordNet 3.0's files: {error}"
      ) from error

  def files(self) -> tuple[str, ...]:
    return (self.wordnet,) if self.wordnet else ()

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context
    synsets = wordnet.FirstSynsets(self.wordnet)

    @functools.lru_cache(maxsize=_KEPT_WORDS)
    def is_noun(word: str) -> bool:
      # A word's nouns come before its verbs, adjectives and adverbs.
      if len(word) < self.min_chars:
        return False
      return (synsets.wnid(word) or "").startswith("n")

    def decide(table: pa.Table) -> operators.Verdict:
      words, rows = bare_words(table["text"])
      encoded = words.dictionary_encode()
      nouns = [is_noun(word) for word in encoded.dictionary.to_pylist()]
      keep = np.zeros(len(table), bool)
      keep[rows[np.array(nouns, bool)[encoded.indices.to_numpy()]]] = True
      return operators.Verdict(keep)

    return decide


def bare_words(
  texts: pa.Array | pa.ChunkedArray,
) -> tuple[pa.Array, np.ndarray]:
  """Return lower-case words without punctuation around, and their rows.

  Returns:
    Strings [W], none of them empty, and int64 [W]: the row of each one's text.
  """
  lower = pc.call_function("utf8_lower", [texts])
  words, counts = strings.words(lower)
  options = pc.TrimOptions(string.punctuation)
  bare = pc.call_function("ascii_trim", [words], options)
  lengths = pc.call_function("binary_length", [bare]).to_numpy()
  rows = np.repeat(np.arange(len(counts)), counts)
  return bare.filter(pa.array(lengths > 0)), rows[lengths > 0]


def _hashed_terms(paths: tuple[str, ...]) -> dict[int, np.ndarray]:
  """Return {number of words: sorted hashes of the terms of that length}.

  Raises:
    ValueError: the files hold no term.
  """
  lines = [
    line
    for path in paths
    for line in pathlib.Path(path).read_text("utf-8-sig").split("\n")
  ]
  words, rows = bare_words(pa.array(lines, pa.string()))
  hashes = strings.hashes(words)
  sizes = np.bincount(rows, minlength=len(lines))
  starts = np.cumsum(sizes) - sizes
  terms = {}
  for size in np.unique(sizes[sizes > 0]).tolist():
    first = starts[sizes == size]
    terms[size] = np.unique(_ngrams(hashes, size)[first])
  if not terms:
    raise ValueError(
      f"{', '.join(paths)}: no terms there; expected one on each line"
    )
  return terms


def _ngrams(hashes: np.ndarray, size: int) -> np.ndarray:
  """Return a uint64 for each run of `size` words."""
  num = max(len(hashes) - size + 1, 0)
  ngrams = hashes[:num]
  for number in range(1, size):
    ngrams = table_keys.pairs(ngrams, hashes[number : number + num])
  return ngrams
