"""Words of texts."""

import numpy as np
import pyarrow as pa
import pytest

from curation.metadata import corpus_words


def tokenize(texts, splitter="words", language="en"):
  """Return tokens, None for what is no word."""
  found = corpus_words.tokenize(
    pa.array(texts, pa.string()), splitter, language
  )
  terms = found.terms.to_pylist()
  assert found.ids.dtype == np.int64
  return [terms[i] if i >= 0 else None for i in found.ids]


def test_punctuation_and_the_end_of_a_text_end_a_bigram():
  assert tokenize(["St. Louis", "is\nwet"]) == [
    *("St", None, "Louis", None),
    *("is", "wet", None),
  ]


def test_hyphens_and_apostrophes_inside_a_word():
  assert tokenize(["don't -- t-shirts' 'x"]) == [
    *("don't", None, None, "t-shirts", None, None, "x", None),
  ]
  assert tokenize(["don't"], "metaclip2") == ["don", None, "t", None]


def test_markup_is_left_out():
  text = '<doc id="1"> no <b>red</b> &lt;ref&gt; fox'
  assert tokenize([text]) == ["no", "red", "fox", None]


@pytest.mark.parametrize(
  "text", ["हिन्दी", "naïve", "Ελληνικά", "русский", "العربية"]
)
def test_words_of_scripts_with_spaces_are_whole(text):
  assert tokenize([f"{text} {text}"]) == [text, text, None]


def test_joiners_inside_a_word_and_marks_of_direction_beside_one():
  word = "می\N{ZERO WIDTH NON-JOINER}خواهم"
  text = f"\N{RIGHT-TO-LEFT MARK}{word}"
  assert tokenize([text]) == [None, word, None]


def test_scripts_without_spaces():
  assert tokenize(["日本a"]) == ["日", "本", "a", None]
  words = tokenize(["我喜欢北京大学。 ไทย"], "icu", "zh")
  assert words == ["我", "喜欢", "北京", "大学", None, "ไทย", None]


def test_texts_without_words():
  assert tokenize([]) == []
  assert tokenize(["", " \n", "..."]) == [None, None, *4 * [None]]


def test_terms_are_there_once():
  found = corpus_words.tokenize(pa.array(["a b a", "(a) b"]), "words", "en")
  terms = found.terms.to_pylist()
  assert len(terms) == len(set(terms))
