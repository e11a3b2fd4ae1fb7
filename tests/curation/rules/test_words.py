"""Blocked terms and nouns, word by word."""

import pyarrow as pa
import pytest

from curation import operators
from curation.captions import wordnet
from curation.rules import words

PLACE = operators.StepContext(None, None)


def decided(op, texts):
  table = pa.table({"text": pa.chunked_array([texts[:2], texts[2:]])})
  keep = op.open(PLACE)(table).keep.tolist()
  return dict(zip(texts, keep, strict=True))


def test_captions_with_a_term_are_dropped(tmp_path):
  one, two = tmp_path / "one.txt", tmp_path / "two.txt"
  one.write_text("Damn\n\n  blue  MOON, rising\n")
  two.write_text("\ufeffdarn\r\nmoon\r\nblue moon tide", encoding="utf-8")
  texts = {
    "": True,
    "a DAMN, fine day": False,
    "damned": True,
    "blue": True,
    "tide moo": True,
    '"(darn)"': False,
    "Blue - moon\u3000RISING!": False,
    "at blue": True,
    "moons rising": True,  # no term goes on from the caption before
    "rising blue": True,
    "the moon": False,
  }
  op = words.Blocklist((str(one), str(two)))
  assert op.files() == op.terms
  assert decided(op, list(texts)) == texts


def test_longer_terms_do_not_go_from_one_caption_into_the_next(tmp_path):
  path = tmp_path / "terms"
  path.write_text("one two three\n")
  texts = {
    **{"x one two": True, "three": True, "two three": True},
    **{"one": True, "two three four": True, "zero one two three": False},
  }
  assert decided(words.Blocklist((str(path),)), list(texts)) == texts


def test_lists_of_no_use(tmp_path):
  with pytest.raises(ValueError, match=r"steps.it.terms must name .* got \(\)"):
    words.Blocklist(()).check("steps.it")
  path = tmp_path / "empty"
  path.write_text(" \n--\n")
  with pytest.raises(ValueError, match="empty: no terms there"):
    words.Blocklist((str(path),)).check("steps.it")
  with pytest.raises(ValueError, match="steps.it.wordnet must be a folder"):
    words.ContainsNoun(str(tmp_path), 3).check("steps.it")


class FewWords:
  """Stands for WordNet: reading all of it takes a second."""

  def __init__(self, folder):
    assert folder == "here"

  def wnid(self, word):
    return {"dog": "n02084071", "in": "n13649268", "go": "v01835496"}.get(word)


def test_captions_without_a_noun_are_dropped(monkeypatch):
  monkeypatch.setattr(wordnet, "FirstSynsets", FewWords)
  op = words.ContainsNoun("here", 3)
  assert op.files() == ("here",)
  texts = {
    "": False,
    "a Dog!": True,
    "go in": False,  # a verb, and too short
    "dogged": False,
    "- '": False,
    "in the dog's, (dog)": True,
  }
  assert decided(op, list(texts)) == texts
