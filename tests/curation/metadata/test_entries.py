"""Entries from their sources."""

import numpy as np
import pytest

from curation.captions import wordnet
from curation.metadata import entries


def made(max_entries=100, max_chars=20):
  return entries.Entries(max_entries, max_chars)


def test_sources_come_in_order_and_what_is_there_counts_for_nothing():
  found = made()
  found.add("wordnet", ["a", "b", "a"])
  found.add("unigrams", ["b", "c", "d", "e"], 2, np.array([9, 8, 7, 6]))
  assert found.text() == "a\nb\nc\nd\n"
  assert found.sources == [
    entries.Source("wordnet", 3, 2, None),
    entries.Source("unigrams", 4, 2, 7.0),
  ]


def test_no_more_than_the_limit():
  found = made(max_entries=3)
  found.add("unigrams", list("abcd"))
  found.add("titles", ["e"])
  assert found.text() == "a\nb\nc\n"


def test_what_can_be_no_entry():
  found = made(max_chars=3)
  terms = ["", ".", "...", "。、", "$", " ", "long", "a\nb", "a\u2028b", "\ta "]
  found.add("titles", [*terms, "C++", "$1", "日本"])
  assert found.text() == "a\nC++\n$1\n日本\n"


def test_numbers_come_first():
  assert entries.DIGITS[:2] == ("0", "1")
  assert entries.DIGITS[-1] == "99"


def test_wordnet_gives_what_the_paper_counts():
  names = entries.synset_names(wordnet.find())
  found = made(max_entries=10**6, max_chars=256)
  found.add("digits", entries.DIGITS)
  found.add("wordnet", names)
  # MetaCLIP, table 1: 86,654, which is with the numbers.
  assert len(found) == 86_654
  assert {"living thing", "great britain", "st"} <= set(names)
  assert not {"st.", "St. Andrew's cross", "living_thing"} & set(names)


def test_words_of_the_open_multilingual_wordnet(tmp_path):
  path = tmp_path / "wn-data-fra.tab"
  path.write_text(
    "# Wolf\tfra\thttp://example.org\n"
    "00001740-a\tfra:lemma\tcomestible\n"
    "00001741-n\tfra:def\t0\tun mot\n"
    "00001741-n\tlemma\tchien_de+garde\n"
    "00001742-n\tfra:lemma\tcomestible\n"
  )
  assert entries.omw_names(str(path)) == ["chien degarde", "comestible"]
  path.write_text("# nothing\n")
  with pytest.raises(ValueError, match="has no line SYNSET<tab>lemma"):
    entries.omw_names(str(path))
  with pytest.raises(ValueError, match="none.tab cannot be read"):
    entries.omw_names(str(tmp_path / "none.tab"))


def test_words_of_wordfreq():
  words = entries.wordfreq_words("en")
  assert words[:2] == ["the", "to"]
  assert len(words) > 300_000
  with pytest.raises(ValueError, match=r"languages.xx.unigrams.source .* en,"):
    entries.wordfreq_words("xx")
