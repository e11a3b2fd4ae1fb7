"""Texts as words, for counting: whole Arrow arrays at a time."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Scripts without spaces between words. Where no segmenter is asked for, each
# character is a word, as MetaCLIP 2 counts them (metaclip/metadata/
# build_ngram.py).
_UNSPACED = (
  *("Han", "Hiragana", "Katakana", "Thai", "Lao", "Myanmar", "Khmer"),
  "Tibetan",
)
# What is left of a page's markup; the second is its escaped form.
_TAG = r"<[^<>\n]*>|&lt;.*?&gt;"
# ICU has spaces as words, which end no bigram.
_SPACE = r"^[\s\p{Z}\p{Cc}]*$"
_BEGINS_AS_WORD = r"^[\p{L}\p{N}\p{M}]"
_SKIPPED = -2
# Control characters, and those of formatting but for the zero-width joiner and
# non-joiner, which words of Persian and Hindi have inside.
_CONTROLS = (
  r"\p{Cc}\p{Co}\x{AD}\x{600}-\x{605}\x{61C}\x{200B}\x{200E}\x{200F}"
  r"\x{202A}-\x{202E}\x{2060}-\x{206F}\x{FEFF}"
)
_PUNCTUATION = r"\p{P}\p{S}"
# Punctuation that MetaCLIP 2 lists beside ASCII's.
_PUBLISHED_PUNCTUATION = "，。、；：？¿！“”‘’（）【】《》〈〉「」『』～—"


@dataclasses.dataclass(frozen=True)
class Tokens:
  """The tokens of some texts.

  Attributes:
    terms: the different words, a string array [V].
    ids: int64 [T], of each token its place in `terms`, -1 for what is no word:
      nothing goes together across it, nor across two texts.
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
  """Return what is a token: a word, with - or ' inside, or a character."""
  word = f"[^{_not_in_words(_PUNCTUATION)}]+"
  return rf"({word}(?:['’\-]{word})*|\S)"


def _published_pattern() -> str:
  """Return the same where all of ASCII's punctuation ends a word."""
  punctuation = r"!-/:-@\[-`{-~" + _PUBLISHED_PUNCTUATION
  return rf"([^{_not_in_words(punctuation)}]+|\S)"


def _icu(texts: pa.Array, language: str) -> pa.ListArray:
  """Return words as ICU's dictionaries have them.

  Those are of Chinese, Japanese, Thai, Lao, Khmer and Burmese.
  """
  from icu4py import breakers

  found = [
    list(breakers.WordBreaker(text, language)) for text in texts.to_pylist()
  ]
  return pa.array(found, pa.list_(pa.string()))


SPLITTERS: Mapping[str, Callable[[pa.Array, str], pa.ListArray]] = {
  "words": _words(_pattern()),
  "metaclip2": _words(_published_pattern()),
  "icu": _icu,
}


def tokenize(texts: pa.Array, splitter: str, language: str) -> Tokens:
  """Return the tokens of a string array; markup (<...>) is left out."""
  # What is between two spaces is split once, however often it is there.
  runs = pc.utf8_split_whitespace(pc.replace_substring_regex(texts, _TAG, " "))
  encoded = runs.flatten().dictionary_encode()
  parts = SPLITTERS[splitter](encoded.dictionary, language)
  terms = pc.utf8_trim_whitespace(parts.flatten()).dictionary_encode()
  places = _places(terms)
  starts = parts.offsets.to_numpy()
  run_ids = encoded.indices.to_numpy().astype(np.int64)
  lengths = np.diff(starts)[run_ids]
  ends = np.concatenate([[0], np.cumsum(lengths)])
  ids = places[
    np.repeat(starts[run_ids] - ends[:-1], lengths) + np.arange(ends[-1])
  ]
  # Between two texts is a token that is no word.
  text_ends = ends[np.cumsum(pc.list_value_length(runs).to_numpy())]
  ids = np.insert(ids, text_ends, -1)
  return Tokens(terms.dictionary, ids[ids > _SKIPPED])


def _places(terms: pa.DictionaryArray) -> np.ndarray:
  """Return int64: places in the dictionary, -1 for no word, or _SKIPPED."""
  is_word = pc.match_substring_regex(terms.dictionary, _BEGINS_AS_WORD)
  is_space = pc.match_substring_regex(terms.dictionary, _SPACE)
  places = np.arange(len(terms.dictionary))
  places[~is_word.to_numpy(zero_copy_only=False)] = -1
  places[is_space.to_numpy(zero_copy_only=False)] = _SKIPPED
  return places[terms.indices.to_numpy()]
