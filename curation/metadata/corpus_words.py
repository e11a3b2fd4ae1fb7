"""Texts as words, for counting: whole Arrow arrays at a time."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Scripts without spaces between words. Without a segmenter each character is a
# word, as MetaCLIP 2 counts them (metaclip/metadata/build_ngram.py).
_UNSPACED = (
  *("Han", "Hiragana", "Katakana", "Thai", "Lao", "Myanmar", "Khmer"),
  "Tibetan",
)
# Remains of a page's markup, plain and escaped.
_TAG = r"<[^<>\n]*>|&lt;.*?&gt;"
# Spaces, which ICU returns as words; they do not separate a bigram.
_SPACE = r"^[\s\p{Z}\p{Cc}]*$"
_BEGINS_AS_WORD = r"^[\p{L}\p{N}\p{M}]"
_SKIPPED = -2
# Control and formatting characters, but for the zero-width joiner and
# non-joiner, which occur inside words of Persian and Hindi.
_CONTROLS = (
  r"\p{Cc}\p{Co}\x{AD}\x{600}-\x{605}\x{61C}\x{200B}\x{200E}\x{200F}"
  r"\x{202A}-\x{202E}\x{2060}-\x{206F}\x{FEFF}"
)
_PUNCTUATION = r"\p{P}\p{S}"
# Punctuation that MetaCLIP 2 lists beside ASCII's.
_PUBLISHED_PUNCTUATION = "，。、；：？¿！“”‘’（）【】《》〈〉「」『』～—"


@dataclasses.dataclass(frozen=True)
class Tokens:
  """Tokens of texts.

  Attributes:
    terms: distinct words, a string array [V].
    ids: int64 [T], index of each token in `terms`; -1 for a token that is no
      word and for the end of a text, which no bigram spans.
  """

  terms: pa.Array
  ids: np.ndarray


def _words(pattern: str) -> Callable[[pa.Array, str], pa.ListArray]:
  def split(texts: pa.Array, language: str) -> pa.ListArray:
    del language
    return pc.utf8_split_whitespace(
      pc.replace_substring_regex(texts, pattern, r" \1 ")
    )

  return split


def _not_in_words(extra: str) -> str:
  unspaced = "".join(rf"\p{{{script}}}" for script in _UNSPACED)
  return rf"\s\p{{Z}}{_CONTROLS}{unspaced}{extra}"


def _pattern() -> str:
  """Return a pattern of tokens: words, with - or ' inside, and characters."""
  word = f"[^{_not_in_words(_PUNCTUATION)}]+"
  return rf"({word}(?:['’\-]{word})*|\S)"


def _published_pattern() -> str:
  """Return a pattern of tokens in which all ASCII punctuation ends a word."""
  punctuation = r"!-/:-@\[-`{-~" + _PUBLISHED_PUNCTUATION
  return rf"([^{_not_in_words(punctuation)}]+|\S)"


def _icu(texts: pa.Array, language: str) -> pa.ListArray:
  """Return words segmented by ICU.

  It has dictionaries of Chinese, Japanese, Thai, Lao, Khmer and Burmese.
  """
  from icu4py import breakers

  words = [
    list(breakers.WordBreaker(text, language)) for text in texts.to_pylist()
  ]
  return pa.array(words, pa.list_(pa.string()))


SPLITTERS: Mapping[str, Callable[[pa.Array, str], pa.ListArray]] = {
  "words": _words(_pattern()),
  "metaclip2": _words(_published_pattern()),
  "icu": _icu,
}


def tokenize(texts: pa.Array, splitter: str, language: str) -> Tokens:
  """Return the tokens of a string array; markup (<...>) is left out."""
  # Each distinct run between spaces is split once.
  runs = pc.utf8_split_whitespace(pc.replace_substring_regex(texts, _TAG, " "))
  encoded = runs.flatten().dictionary_encode()
  parts = SPLITTERS[splitter](encoded.dictionary, language)
  terms = pc.utf8_trim_whitespace(parts.flatten()).dictionary_encode()
  term_ids = _ids(terms)
  starts = parts.offsets.to_numpy()
  run_ids = encoded.indices.to_numpy().astype(np.int64)
  lengths = np.diff(starts)[run_ids]
  ends = np.concatenate([[0], np.cumsum(lengths)])
  ids = term_ids[
    np.repeat(starts[run_ids] - ends[:-1], lengths) + np.arange(ends[-1])
  ]
  # A token that is no word ends each text.
  text_ends = ends[np.cumsum(pc.list_value_length(runs).to_numpy())]
  ids = np.insert(ids, text_ends, -1)
  return Tokens(terms.dictionary, ids[ids > _SKIPPED])


def _ids(terms: pa.DictionaryArray) -> np.ndarray:
  """Return the index of each term; -1 for no word, _SKIPPED for spaces."""
  is_word = pc.match_substring_regex(terms.dictionary, _BEGINS_AS_WORD)
  is_space = pc.match_substring_regex(terms.dictionary, _SPACE)
  ids = np.arange(len(terms.dictionary))
  ids[~is_word.to_numpy(zero_copy_only=False)] = -1
  ids[is_space.to_numpy(zero_copy_only=False)] = _SKIPPED
  return ids[terms.indices.to_numpy()]
