"""DataComp's text-based filter, on WordNet's own files."""

import pyarrow as pa
import pytest

from curation.captions import wordnet
from curation.rules import text_based
from tests.curation import synth

DOG = "n02084071"


@pytest.fixture(scope="module")
def synsets():
  return wordnet.FirstSynsets()


@pytest.fixture(autouse=True)
def _read_once(monkeypatch, synsets):
  monkeypatch.setattr(wordnet, "FirstSynsets", lambda folder: synsets)


@pytest.fixture
def classes(tmp_path):
  path = tmp_path / "classes.txt"
  path.write_text(f"{DOG}\n\nn02121620\n")
  return path


def kept(tmp_path, step, texts):
  columns = {"text": pa.array(texts)}
  half = len(texts) // 2
  shards = [list(range(half)), list(range(half, len(texts)))]
  return synth.kept(tmp_path, "a", columns, {"it": step}, shards)[0]


def test_a_word_that_names_a_class_keeps_its_caption(tmp_path, classes):
  texts = [
    "my Dogs at the beach",  # lower case, and the base form
    "",
    "hotdog",  # another synset
    "a dog, barking",  # DataComp leaves the comma on the word
    "a\u2003cat\nsleeps",  # any white space is between words
    "  ",
    "kitten pet",
    "DOG",
  ]
  step = text_based.TextBased(str(classes), "", False)
  step.check("steps.it")
  assert kept(tmp_path, step, texts) == [0, 4, 7]


@pytest.mark.parametrize("nouns_only", [False, True])
def test_an_offset_of_a_verb_counts_as_datacomp_counts_it(
  tmp_path, nouns_only, synsets
):
  wnid = synsets.wnid("eat")
  assert wnid is not None
  assert wnid.startswith("v")
  path = tmp_path / "classes.txt"
  path.write_text(f"n{wnid[1:]}\n")
  step = text_based.TextBased(str(path), "", nouns_only)
  assert kept(tmp_path, step, ["eat", "dog"]) == ([] if nouns_only else [0])


def test_mistakes_are_named(tmp_path):
  with pytest.raises(ValueError, match="steps.a.classes must name a file"):
    text_based.TextBased("", "", False).check("steps.a")
  path = tmp_path / "classes.txt"
  path.write_text("n02084071\ndog\n")
  with pytest.raises(ValueError, match="classes.txt, line 2: .*got 'dog'"):
    text_based.read_classes(path)
  path.write_text("\n")
  with pytest.raises(ValueError, match="no WordNet IDs"):
    text_based.read_classes(path)
